package cli

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/fantail-mqtt/fantail/internal/api"
	"github.com/fantail-mqtt/fantail/internal/auth/account"
)

func ctlUserCommand(e *env, c *ctlFlags) *cobra.Command {
	t := &things{
		e: e, c: c, noun: "user", name: "NAME", path: api.UsersPath, export: api.ExportUsersPath,
		head: "name\tgroups\trights\tkept as\tcreated", row: userRow, rows: userRows,
	}
	return t.command("Manage the accounts of clients: add one, change its password, disable it, import many",
		userAddCommand(t), userPasswordCommand(t), importCommand(t, userForms()), exportCommand(t, userColumns()))
}

// secretFlags say where a password or key comes from.
type secretFlags struct{ stdin, generate bool }

func (s *secretFlags) register(cmd *cobra.Command, what string) {
	cmd.Flags().BoolVar(&s.stdin, what+"-stdin", false, "read the "+what+" from standard input, its first line")
	cmd.Flags().BoolVar(&s.generate, "generate", false, "make one up and print it, which is the only time that it is shown")
}

// get asks for it: on the terminal if nothing else is said.
func (s *secretFlags) get(e *env, what string) (secret string, err error) {
	switch {
	case s.stdin && s.generate:
		return "", misuse("--%s-stdin and --generate exclude one another", what)
	case s.generate:
		return rand.Text(), nil // 130 bits
	case s.stdin:
		secret, err = linePassword(e.stdin)
	default:
		secret, err = askPassword(e)
	}
	if err == nil && secret == "" {
		err = failed(fmt.Errorf("the %s is empty: nothing is changed", what))
	}
	return secret, err
}

// show prints it if it was made up.
func (s *secretFlags) show(e *env, what, secret string) error {
	if !s.generate {
		return nil
	}
	_, err := fmt.Fprintf(e.stdout, "%s %s\n", what, secret)
	return err
}

const keptAsHelp = "keep the password as `FORM`: scram-sha-256 (the default), which lets clients prove it without sending it, or argon2id, bcrypt, sha512-pbkdf2 or sha512"

func userAddCommand(t *things) *cobra.Command {
	var s secretFlags
	var groups, attributes []string
	var in struct {
		Name      string            `json:"name"`
		Password  string            `json:"password"`
		KeptAs    string            `json:"kept_as,omitempty"`
		Groups    []string          `json:"groups,omitempty"`
		Attrs     map[string]string `json:"attributes,omitempty"`
		Superuser bool              `json:"superuser,omitempty"`
		Limits    string            `json:"limits,omitempty"`
		ClientID  string            `json:"client_id,omitempty"`
	}
	cmd := &cobra.Command{
		Use:   "add NAME [--password-stdin | --generate] [--group GROUP]... [--attr KEY=VALUE]... [--superuser]",
		Short: "Add an account",
		Long: "Adds an account. Without --password-stdin and --generate the password is asked for. It holds at once: clients\n" +
			"that show no account are let in no more, once there is one, unless auth.anonymous says so.",
		Example: "  fantail ctl user add porch --generate\n" +
			"  fantail ctl user add ann --group staff --attr site=b1",
		Args: t.one,
		RunE: func(_ *cobra.Command, args []string) (err error) {
			in.Name, in.Groups = args[0], groups
			if in.Attrs, err = pairs(attributes); err != nil {
				return err
			}
			if in.Password, err = s.get(t.e, "password"); err != nil {
				return err
			}
			if err := t.add(in.Name, in, false); err != nil {
				return err
			}
			return s.show(t.e, "password", in.Password)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	s.register(cmd, "password")
	f.StringArrayVar(&groups, "group", nil, "it belongs to `GROUP`, which access rules name; may be repeated")
	f.StringArrayVar(&attributes, "attr", nil, "it has the attribute `KEY=VALUE`, which access rules and placeholders name; may be repeated")
	f.BoolVar(&in.Superuser, "superuser", false, "its clients may do everything")
	f.StringVar(&in.Limits, "limits", "", "the set of limits `NAME` holds for its clients")
	f.StringVar(&in.ClientID, "client-id", "", "its client gets the client id `ID`, whatever it says")
	f.StringVar(&in.KeptAs, "keep-as", "", keptAsHelp)
	return cmd
}

// pairs reads KEY=VALUE.
func pairs(list []string) (map[string]string, error) {
	m := make(map[string]string, len(list))
	for _, text := range list {
		key, value, ok := strings.Cut(text, "=")
		if !ok || key == "" {
			return nil, misuse("--attr %s: write KEY=VALUE", text)
		}
		m[key] = value
	}
	return m, nil
}

func userPasswordCommand(t *things) *cobra.Command {
	var s secretFlags
	var in struct {
		Password string `json:"password"`
		KeptAs   string `json:"kept_as,omitempty"`
	}
	cmd := &cobra.Command{
		Use:   "passwd NAME [--password-stdin | --generate]",
		Short: "Set the password of an account, and send its clients away",
		Args:  t.one,
		RunE: func(_ *cobra.Command, args []string) (err error) {
			if in.Password, err = s.get(t.e, "password"); err != nil {
				return err
			}
			if err := t.c.tell(t.e.ctx, http.MethodPatch, t.at(args[0]), in, nil); err != nil {
				return err
			}
			if _, err := fmt.Fprintf(t.e.stdout, "changed %s\n", args[0]); err != nil {
				return err
			}
			return s.show(t.e, "password", in.Password)
		},
	}
	cmd.Flags().SortFlags = false
	s.register(cmd, "password")
	cmd.Flags().StringVar(&in.KeptAs, "keep-as", "", keptAsHelp+"; without it, as before")
	return cmd
}

func userRow(w io.Writer, text json.RawMessage) error {
	var v account.View
	if err := json.Unmarshal(text, &v); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", printable(v.Name), dash(strings.Join(v.Groups, ",")), dash(userRights(&v)), v.KeptAs, day(v.Created))
	return err
}

func userRights(v *account.View) string {
	var words []string
	if v.Superuser {
		words = append(words, "superuser")
	}
	if v.Disabled {
		words = append(words, "disabled")
	}
	return strings.Join(words, ",")
}

func userRows(w io.Writer, text json.RawMessage) error {
	var v account.View
	if err := json.Unmarshal(text, &v); err != nil {
		return err
	}
	t := columns(w)
	fmt.Fprintf(t, "name\t%s\nkept as\t%s\ngroups\t%s\nattributes\t%s\nrights\t%s\nlimits\t%s\nclient id\t%s\ncreated\t%s\n",
		printable(v.Name), v.KeptAs, dash(strings.Join(v.Groups, ", ")), dash(attributes(v.Attributes)), dash(userRights(&v)),
		dash(v.Limits), dash(v.ClientID), day(v.Created))
	return t.Flush()
}

func columns(w io.Writer) *tabwriter.Writer { return tabwriter.NewWriter(w, 0, 0, 2, ' ', 0) }

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return printable(text)
}

// printable is a text that somebody else chose, as a terminal may have it.
func printable(text string) string {
	quoted := fmt.Sprintf("%q", text)
	if quoted == `"`+text+`"` {
		return text
	}
	return quoted
}

func day(at time.Time) string { return at.UTC().Format(time.RFC3339) }

func attributes(m map[string]string) string {
	list := make([]string, 0, len(m))
	for _, key := range slices.Sorted(maps.Keys(m)) {
		list = append(list, key+"="+m[key])
	}
	return strings.Join(list, " ")
}
