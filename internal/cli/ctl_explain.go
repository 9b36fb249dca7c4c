package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/internal/api"
)

func ctlExplainCommand(e *env, c *ctlFlags) *cobra.Command {
	var q api.Question
	var asJSON, withPassword bool
	cmd := &cobra.Command{
		Use:   "explain connect|publish|subscribe|receive [--client ID] [--user NAME] [--address IP] [TOPIC]",
		Short: "Say what the broker does with a client, and why",
		Long: "Says whether a client may connect, publish or subscribe, which step of the authentication or which access rule decides that, what was\n" +
			"asked before, and what to do to have it otherwise. A client id that is connected stands for that very client. Exits with 0 if the\n" +
			"client may, with 1 if not.",
		Example: "  fantail ctl explain connect --client porch --user ann --password-stdin --address 192.168.1.21 < password\n" +
			"  fantail ctl explain publish --client porch home/porch/temperature\n" +
			"  fantail ctl explain subscribe --user ann 'home/#'",
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
				return misuse("explain what? connect, publish, subscribe or receive")
			case args[0] == "connect" && len(args) > 1:
				return misuse("connect takes no topic")
			case args[0] != "connect" && len(args) != 2:
				return misuse("%s takes one topic", args[0])
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			q.Action = args[0]
			if len(args) > 1 {
				q.Topic = args[1]
			}
			if withPassword {
				text, err := io.ReadAll(io.LimitReader(e.stdin, 1<<16))
				if err != nil {
					return &status{exitFailed, fmt.Errorf("read the password: %w", err)}
				}
				q.Password = strings.TrimRight(string(text), "\r\n")
			}
			var x api.Explained
			if err := c.tell(e.ctx, http.MethodPost, api.ExplainPath, &q, &x); err != nil {
				return err
			}
			if asJSON {
				out := json.NewEncoder(e.stdout)
				out.SetIndent("", "  ")
				if err := out.Encode(&x); err != nil {
					return &status{exitFailed, err}
				}
			} else {
				printExplained(e.stdout, &q, &x)
			}
			if !x.Allowed {
				return &status{code: exitFailed}
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&q.Client, "client", "", "its client `ID`")
	f.StringVar(&q.User, "user", "", "its user `NAME`")
	f.BoolVar(&withPassword, "password-stdin", false, "read its password from standard input; else access is explained as if the user name were proved")
	f.StringVar(&q.Address, "address", "", "the `IP` address that it comes from (default 127.0.0.1)")
	f.StringVar(&q.Listener, "listener", "", "the `URL` of the listener that it comes to")
	f.Uint8Var(&q.QoS, "qos", 0, "of the message, or asked for")
	f.BoolVar(&q.Retain, "retain", false, "the message is retained")
	f.BoolVar(&asJSON, "json", false, "print the JSON of the broker's answer")
	return cmd
}

// printExplained tells a decision from its end: what, by whom, why, what to do,
// and then how it came to that.
func printExplained(w io.Writer, q *api.Question, x *api.Explained) {
	word := "DENIED"
	if x.Allowed {
		word = "allowed"
	}
	what := q.Action
	if q.Topic != "" {
		what += " " + q.Topic
	}
	fmt.Fprintf(w, "%s: %s\n", word, what)
	if x.Connected {
		fmt.Fprintf(w, "  for       the client %s that is connected\n", q.Client)
	}
	fmt.Fprintf(w, "  by        %s\n  why       %s\n", x.By, x.Why)
	if x.Hears != "" {
		fmt.Fprintf(w, "  it hears  %s\n", x.Hears)
	}
	if x.Do != "" {
		fmt.Fprintf(w, "  do        %s\n", x.Do)
	}
	if len(x.Limits) > 0 {
		fmt.Fprintln(w, "limits:")
	}
	for _, l := range x.Limits {
		fmt.Fprintf(w, "  %s\n", l)
	}
	if len(x.Steps) > 0 {
		fmt.Fprintln(w, "steps:")
	}
	for _, s := range x.Steps {
		fmt.Fprintf(w, "  %-7s %s: %s (%s)\n", s.Verdict, s.Step, s.Why, milliseconds(s.Took))
	}
	if x.Access != nil && len(x.Access.Tried) > 0 {
		fmt.Fprintln(w, "tried before:")
		for _, t := range x.Access.Tried {
			printTrial(w, &t)
		}
	}
}

func printTrial(w io.Writer, t *access.Trial) {
	if t.Rule == "" {
		fmt.Fprintf(w, "  %s: %s\n", t.Source, t.Why)
		return
	}
	fmt.Fprintf(w, "  %s: %s: %s\n", t.Rule, t.Text, t.Why)
}
