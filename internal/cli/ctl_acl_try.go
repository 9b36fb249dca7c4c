package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/internal/api"
	"github.com/fantail-mqtt/fantail/internal/config"
)

func ruleTestCommand(t *things) *cobra.Command {
	var asJSON bool
	var watch time.Duration
	cmd := &cobra.Command{
		Use:   "test [--watch TIME] [--json] FILE",
		Short: "Say whose rights the rules of a file would change, and apply nothing",
		Long: "FILE is a configuration in YAML (its name ends in .yaml or .yml), whose section access would take the place of the present one, or else\n" +
			"an acl_file of mosquitto's, which would take the place of the present one. The broker tries it on what connected clients are subscribed\n" +
			"to, and on what they publish meanwhile. Exits with 0 if nothing would change, with 1 if something would, and with 2 if FILE has a mistake\n" +
			"or the broker cannot be asked.",
		Example: "  fantail ctl acl test fantail.yaml\n" +
			"  fantail ctl acl test --watch 10m /etc/mosquitto/acl.new",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return misuse("give the one file to try")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if watch < 0 {
				return misuse("--watch: %v is below 0", watch)
			}
			in, err := rulesOf(args[0])
			if err != nil {
				return (&status{code: exitUsage}).saying(t.e, err)
			}
			in.Watch = watch.Seconds()
			return t.try(in, asJSON)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.DurationVar(&watch, "watch", 5*time.Second, "for this `TIME` look at what clients publish, such as 10m")
	f.BoolVar(&asJSON, "json", false, "print the JSON of the broker's answer")
	return cmd
}

// rulesOf reads the rules of a file.
func rulesOf(path string) (*api.RulesTest, error) {
	var in api.RulesTest
	acl := path
	if ext := filepath.Ext(path); ext == ".yaml" || ext == ".yml" {
		c, err := config.Load(path)
		if err != nil {
			return nil, err
		}
		in.Config = &api.ConfigRules{Default: c.Access.Default, Rules: []api.WrittenRule{}}
		for i, r := range c.Access.List() {
			in.Config.Rules = append(in.Config.Rules, api.WrittenRule{Place: r.ID, Statement: c.Access.Rules[i].Statement})
		}
		acl = c.Access.ACLFile
	}
	if acl == "" {
		return &in, nil
	}
	text, err := config.ACLText(acl)
	if err != nil {
		return nil, err
	}
	in.ACLFile = &api.ACLText{Name: acl, Text: string(text)}
	return &in, nil
}

// try asks the broker, and shows what it answers.
func (t *things) try(in *api.RulesTest, asJSON bool) error {
	var out api.RulesTested
	stop := countdown(t.e, in.Watch)
	err := t.c.tell(t.e.ctx, http.MethodPost, api.RulesTestPath, in, &out)
	stop()
	if err != nil {
		return troubled(t.e, err)
	}
	if asJSON {
		j := json.NewEncoder(t.e.stdout)
		j.SetIndent("", "  ")
		j.SetEscapeHTML(false)
		err = j.Encode(&out)
	} else {
		err = printTested(t.e.stdout, &out)
	}
	if err != nil {
		return troubled(t.e, err)
	}
	if out.Changed > 0 {
		return &status{code: exitFailed}
	}
	return nil
}

// troubled says what went wrong, with another status than that of rights that
// change.
func troubled(e *env, err error) error {
	var s *status
	if errors.As(err, &s) && s.code == exitInterrupted {
		return err
	}
	return (&status{code: exitUsage}).saying(e, err)
}

// countdown says how long it takes: on a terminal what is left of it, until stop
// is called.
func countdown(e *env, seconds float64) (stop func()) {
	length := time.Duration(seconds * float64(time.Second))
	if length == 0 {
		return func() {}
	}
	if !isTerminal(e.stderr) {
		e.say("looking for %v at what clients publish", length)
		return func() {}
	}
	end, ended := make(chan struct{}), make(chan struct{})
	until := time.Now().Add(length)
	go func() { // ends with stop, which waits for it
		defer close(ended)
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			fmt.Fprintf(e.stderr, clearLine+"looking at what clients publish: %v left", max(time.Until(until), 0).Round(time.Second))
			select {
			case <-tick.C:
			case <-end:
				fmt.Fprint(e.stderr, clearLine)
				return
			}
		}
	}()
	return func() {
		close(end)
		<-ended
	}
}

// printTested lists the changes by client.
func printTested(w io.Writer, x *api.RulesTested) error {
	client := ""
	for i, c := range x.Changes {
		if i == 0 || c.Client != client {
			client = c.Client
			fmt.Fprintf(w, "%s%s\n", client, userOf(&c))
		}
		fmt.Fprintf(w, "  %-9s %s%s\n    before   %s\n    after    %s\n", c.Action, c.Topic, detailsOf(&c), rightWords(c.Before), rightWords(c.After))
	}
	if more := x.Changed - len(x.Changes); more > 0 {
		fmt.Fprintf(w, "and %s more\n", count(int64(more)))
	}
	_, err := fmt.Fprintf(w, "clients       %s looked at, with %s subscriptions and published topics\nwould change  %s of these; nothing is applied\n",
		count(int64(x.Clients)), count(int64(x.Rights)), count(int64(x.Changed)))
	return err
}

func userOf(c *api.RightChange) string {
	if c.User == "" {
		return ""
	}
	return " (user " + c.User + ")"
}

func detailsOf(c *api.RightChange) string {
	text := fmt.Sprintf(" at QoS %d", c.QoS)
	if c.Retain {
		text += ", retained"
	}
	return text
}

func rightWords(r access.Right) string {
	switch {
	case !r.Allowed:
		return "DENIED by " + r.Rule
	case r.Checked:
		return "allowed in part by " + r.Rule
	default:
		return "allowed by " + r.Rule
	}
}
