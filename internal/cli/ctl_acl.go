package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/internal/api"
	"github.com/fantail-mqtt/fantail/internal/config"
	"github.com/fantail-mqtt/fantail/internal/rulebook"
)

func ctlACLCommand(e *env, c *ctlFlags) *cobra.Command {
	t := &things{e: e, c: c, noun: "rule", name: "NAME", path: api.RulesPath, head: "name\trule", row: ruleRow}
	cmd := &cobra.Command{
		Use:   "acl COMMAND",
		Short: "Manage access rules at run time, and try out those of a file",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return misuse("unknown command %q for %q", args[0], cmd.CommandPath())
			}
			return cmd.Help()
		},
	}
	cmd.AddCommand(ruleListCommand(t), ruleAddCommand(t), ruleRemoveCommand(t), ruleTestCommand(t))
	return cmd
}

func ruleRow(w io.Writer, text json.RawMessage) error {
	var v rulebook.View
	if err := json.Unmarshal(text, &v); err != nil {
		return fmt.Errorf("read the answer of the broker: %w", err)
	}
	if v.Problem != "" {
		v.Text += "   (instead of what cannot be read: " + v.Problem + ")"
	}
	_, err := fmt.Fprintf(w, "%s\t%s\n", v.Name, v.Text)
	return err
}

func ruleListCommand(t *things) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list [--json]",
		Short: "List the run-time rules in the order in which they are asked",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			list := t.all(t.path)
			if asJSON {
				return failed(writeJSON(t.e.stdout, list))
			}
			if err := t.table(list); err != nil {
				return failed(err)
			}
			x, err := t.access()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(t.e.stdout, behind(x))
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	return cmd
}

func (t *things) access() (*api.Access, error) {
	x := new(api.Access)
	return x, t.c.tell(t.e.ctx, http.MethodGet, api.AccessPath, nil, x)
}

// warnFirst says what the first rule of all means for everybody.
func (t *things) warnFirst(before *api.Access) error {
	now, err := t.access()
	if err == nil && before.Default != now.Default {
		t.e.say("this is the first rule: what no rule allows is denied from now on, to everybody; access.default: allow in the configuration says otherwise")
	}
	return err
}

// behind says what is asked behind the run-time rules.
func behind(x *api.Access) string {
	text := fmt.Sprintf("behind them: access.rules has %d", x.Config)
	if x.ACLFile != nil {
		text += fmt.Sprintf(", the acl_file %d", *x.ACLFile)
	}
	if x.Default == config.AccessDeny {
		return text + "; what no rule matches is denied"
	}
	return text + "; what no rule matches is allowed"
}

func ruleAddCommand(t *things) *cobra.Command {
	var replace bool
	cmd := &cobra.Command{
		Use:   "add [--replace] [NAME] RULE",
		Short: "Add a rule, which holds at once",
		Long: "Adds a rule, in YAML or JSON as in the configuration. It holds at once, also for clients that are connected: subscriptions that\n" +
			"are not allowed any more end. Run-time rules are asked before those of the files, in the order of their names; without a NAME, it gets\n" +
			"the next number and so is the last of them.",
		Example: "  fantail ctl acl add '{allow: [publish, subscribe], user: porch, topic: home/porch/#}'\n" +
			"  fantail ctl acl add 0000-stolen '{deny: all, client: porch-7}'",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 || len(args) > 2 {
				return misuse("give a RULE, or its NAME and the RULE")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			s, err := config.ParseRule([]byte(args[len(args)-1]))
			if err != nil {
				return (&status{code: exitUsage}).saying(t.e, err)
			}
			if replace && len(args) == 1 {
				return misuse("--replace needs the NAME of the rule")
			}
			before, err := t.access()
			if err != nil {
				return err
			}
			if len(args) == 2 {
				err = t.addRule(args[0], &s, replace)
			} else {
				err = t.addNext(&s)
			}
			if err != nil {
				return err
			}
			return t.warnFirst(before)
		},
	}
	cmd.Flags().BoolVar(&replace, "replace", false, "take the place of the rule that has the name, if there is one")
	return cmd
}

// addRule adds a rule by a name.
func (t *things) addRule(name string, s *access.Statement, replace bool) error {
	return t.add(name, namedRule{name, *s}, replace)
}

type namedRule struct {
	Name string `json:"name"`
	access.Statement
}

// addNext adds a rule by the number behind the highest that is in use, or by the
// one behind that if somebody else takes it at the same time.
func (t *things) addNext(s *access.Statement) error {
	for last := ""; ; {
		name, err := t.nextNumber()
		if err != nil {
			return failed(err)
		}
		if err = t.addRule(name, s, false); err == nil || name == last {
			return err
		}
		last = name
	}
}

// numberWidth is how many digits a number has at least.
const numberWidth = 4

func (t *things) nextNumber() (string, error) {
	highest := uint64(0)
	for text, err := range t.all(t.path) {
		if err != nil {
			return "", err
		}
		var r struct{ Name string }
		if err := json.Unmarshal(text, &r); err != nil {
			return "", fmt.Errorf("read the answer of the broker: %w", err)
		}
		if n, err := strconv.ParseUint(r.Name, 10, 32); err == nil {
			highest = max(highest, n)
		}
	}
	return fmt.Sprintf("%0*d", numberWidth, highest+1), nil
}

func ruleRemoveCommand(t *things) *cobra.Command {
	return &cobra.Command{
		Use:   "rm NAME...",
		Short: "Remove run-time rules",
		Args:  t.some,
		RunE: func(_ *cobra.Command, args []string) error {
			return t.each(args, "removed", func(name string) error {
				return t.c.tell(t.e.ctx, http.MethodDelete, t.at(name), nil, nil)
			})
		},
	}
}
