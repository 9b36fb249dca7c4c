package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fantail-mqtt/fantail/internal/api"
	"github.com/fantail-mqtt/fantail/internal/managed"
)

// things are what a broker manages at run time of one kind: the commands that
// users and devices have in common.
type things struct {
	e            *env
	c            *ctlFlags
	noun         string // what one is called
	name         string // what the command line calls its name
	path, export string // of the API
	// row and rows print one as a line of a table, under head, and as lines of their
	// own.
	head string
	row  func(w io.Writer, text json.RawMessage) error
	rows func(w io.Writer, text json.RawMessage) error
}

// at is the URL of one thing. A name may hold slashes, and be a dot.
func (t *things) at(name string) string {
	escaped := url.PathEscape(name)
	if strings.Trim(name, ".") == "" {
		escaped = strings.ReplaceAll(name, ".", "%2E")
	}
	return t.path + "/" + escaped
}

// command holds those of one kind.
func (t *things) command(short string, more ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   t.noun + " COMMAND",
		Short: short,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return misuse("unknown command %q for %q", args[0], cmd.CommandPath())
			}
			return cmd.Help()
		},
	}
	cmd.AddCommand(more...)
	cmd.AddCommand(
		t.listCommand(), t.showCommand(),
		t.switchCommand("disable", "Keep "+t.noun+"s out, and send them away if they are connected", true),
		t.switchCommand("enable", "Let "+t.noun+"s in that were disabled", false), t.removeCommand(),
	)
	return cmd
}

// one is the argument of a command about one thing.
func (t *things) one(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return misuse("give one %s", t.name)
	}
	return nil
}

func (t *things) some(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return misuse("give one %s or more", t.name)
	}
	return nil
}

func (t *things) listCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list [--json]",
		Short: "List all " + t.noun + "s, without what is secret",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			list := t.all(t.path)
			if asJSON {
				return failed(writeJSON(t.e.stdout, list))
			}
			return failed(t.table(list))
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	return cmd
}

func (t *things) showCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show [--json] " + t.name,
		Short: "Show one " + t.noun + ", without what is secret",
		Args:  t.one,
		RunE: func(_ *cobra.Command, args []string) error {
			resp, err := t.c.ask(t.e.ctx, http.MethodGet, t.at(args[0]))
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			if err != nil {
				return failed(fmt.Errorf("read the answer of the broker: %w", err))
			}
			if asJSON {
				_, err = t.e.stdout.Write(text)
				return err
			}
			return failed(t.rows(t.e.stdout, text))
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the JSON of the broker's answer")
	return cmd
}

func (t *things) switchCommand(verb, short string, disabled bool) *cobra.Command {
	return &cobra.Command{
		Use:   verb + " " + t.name + "...",
		Short: short,
		Args:  t.some,
		RunE: func(_ *cobra.Command, args []string) error {
			return t.each(args, verb+"d", func(name string) error {
				return t.c.tell(t.e.ctx, http.MethodPatch, t.at(name), map[string]bool{"disabled": disabled}, nil)
			})
		},
	}
}

func (t *things) removeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rm " + t.name + "...",
		Short: "Remove " + t.noun + "s, and send them away if they are connected",
		Args:  t.some,
		RunE: func(_ *cobra.Command, args []string) error {
			return t.each(args, "removed", func(name string) error {
				resp, err := t.c.ask(t.e.ctx, http.MethodDelete, t.at(name))
				if err == nil {
					_ = resp.Body.Close()
				}
				return err
			})
		},
	}
}

// each does something with each of the names, and goes on after a failure.
func (t *things) each(names []string, done string, do func(name string) error) error {
	var errs []error
	for _, name := range names {
		if err := do(name); err != nil {
			errs = append(errs, err)
			continue
		}
		if _, err := fmt.Fprintf(t.e.stdout, "%s %s\n", done, name); err != nil {
			return err
		}
	}
	if len(errs) == 1 {
		return errs[0]
	}
	return failed(errors.Join(errs...))
}

// add puts in one thing that is not there yet.
func (t *things) add(name string, thing any, replace bool) error {
	text, err := json.Marshal(thing)
	if err != nil {
		return err
	}
	report, err := t.post([]json.RawMessage{text}, replace)
	if err != nil {
		return err
	}
	if len(report.Refused) > 0 {
		return failed(errors.New(report.Refused[0].Error))
	}
	outcome := "added"
	if report.Added == 0 {
		outcome = "changed"
	}
	_, err = fmt.Fprintf(t.e.stdout, "%s %s\n", outcome, name)
	return err
}

func (t *things) post(list []json.RawMessage, replace bool) (r managed.Report, err error) {
	err = t.c.tell(t.e.ctx, http.MethodPost, t.path, api.Import{List: list, Replace: replace}, &r)
	return r, err
}

// all yields all things behind a path, page by page.
func (t *things) all(path string) iter.Seq2[json.RawMessage, error] {
	return func(yield func(json.RawMessage, error) bool) {
		for after, more := "", true; more; {
			var page struct {
				List []json.RawMessage `json:"list"`
				Next string            `json:"next"`
			}
			resp, err := t.c.ask(t.e.ctx, http.MethodGet, path+"?limit=1000&after="+url.QueryEscape(after))
			if err == nil {
				err = json.NewDecoder(resp.Body).Decode(&page)
				_ = resp.Body.Close()
			}
			if err != nil {
				yield(nil, err)
				return
			}
			for _, text := range page.List {
				if !yield(text, nil) {
					return
				}
			}
			after, more = page.Next, page.Next != ""
		}
	}
}

// table prints things under their head.
func (t *things) table(list iter.Seq2[json.RawMessage, error]) error {
	w := columns(t.e.stdout)
	empty := true
	for text, err := range list {
		if err != nil {
			return err
		}
		if empty {
			fmt.Fprintln(w, t.head)
		}
		empty = false
		if err := t.row(w, text); err != nil {
			return err
		}
	}
	if empty {
		_, err := fmt.Fprintf(t.e.stdout, "there are no %ss\n", t.noun)
		return err
	}
	return w.Flush()
}

// writeJSON prints things as an array, each on a line.
func writeJSON(w io.Writer, list iter.Seq2[json.RawMessage, error]) error {
	before := "[\n"
	for text, err := range list {
		if err != nil {
			return err
		}
		var line bytes.Buffer
		if err := json.Compact(&line, text); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "%s%s", before, line.Bytes()); err != nil {
			return err
		}
		before = ",\n"
	}
	if before == "[\n" {
		_, err := io.WriteString(w, "[]\n")
		return err
	}
	_, err := io.WriteString(w, "\n]\n")
	return err
}
