package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/user"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/fantail-mqtt/fantail/internal/api"
	"github.com/fantail-mqtt/fantail/internal/ban"
)

func ctlBanCommand(e *env, c *ctlFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ban COMMAND",
		Short: "Keep clients out: add a ban, list them, lift one",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return misuse("unknown command %q for %q", args[0], cmd.CommandPath())
			}
			return cmd.Help()
		},
	}
	cmd.AddCommand(ctlBanAddCommand(e, c), ctlBanListCommand(e, c), ctlBanRemoveCommand(e, c))
	return cmd
}

func ctlBanAddCommand(e *env, c *ctlFlags) *cobra.Command {
	var b ban.Ban
	var length time.Duration
	cmd := &cobra.Command{
		Use:   "add [--client ID] [--user NAME] [--address ADDRESS|NETWORK] [--client-pattern REGEX] [--user-pattern REGEX] [--for TIME] [--reason TEXT]",
		Short: "Ban whoever fits all that is given, and disconnect them",
		Example: "  fantail ctl ban add --address 192.0.2.0/24 --for 24h --reason 'password guessing'\n" +
			"  fantail ctl ban add --client-pattern 'bot-.*'",
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			if length < 0 {
				return misuse("--for: %v is below 0", length)
			}
			if length > 0 {
				until := time.Now().Add(length).UTC().Truncate(time.Second)
				b.Until = &until
			}
			if me, err := user.Current(); err == nil {
				b.By = me.Username
			}
			body, err := json.Marshal(b)
			if err != nil {
				return err
			}
			resp, err := c.send(e.ctx, http.MethodPost, api.BansPath, bytes.NewReader(body))
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			var made api.Banned
			if err := json.NewDecoder(resp.Body).Decode(&made); err != nil {
				return &status{exitFailed, fmt.Errorf("read the broker's answer: %w", err)}
			}
			_, err = fmt.Fprintf(e.stdout, "%s: %s; disconnected: %d\n", made.ID, made.Why(), made.Disconnected)
			return err
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&b.Client, "client", "", "the client `ID`")
	f.StringVar(&b.User, "user", "", "the user `NAME`")
	f.StringVar(&b.Address, "address", "", "an `ADDRESS`, or a network such as 192.0.2.0/24")
	f.StringVar(&b.ClientPattern, "client-pattern", "", "a `REGEX` of whole client ids")
	f.StringVar(&b.UserPattern, "user-pattern", "", "a `REGEX` of whole user names")
	f.DurationVar(&length, "for", 0, "for this `TIME`, such as 30m or 24h; without it: until it is lifted")
	f.StringVar(&b.Reason, "reason", "", "why, for whoever reads the log")
	return cmd
}

func ctlBanListCommand(e *env, c *ctlFlags) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list [--json]",
		Short: "List the bans in force",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			resp, err := c.ask(e.ctx, http.MethodGet, api.BansPath)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			if asJSON {
				_, err = io.Copy(e.stdout, resp.Body)
			} else {
				err = printBans(e.stdout, resp.Body)
			}
			if err != nil {
				return &status{exitFailed, fmt.Errorf("print the bans: %w", err)}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the JSON of the broker's answer")
	return cmd
}

func printBans(w io.Writer, answer io.Reader) error {
	var list []ban.Ban
	if err := json.NewDecoder(answer).Decode(&list); err != nil {
		return err
	}
	if len(list) == 0 {
		_, err := fmt.Fprintln(w, "nobody is banned")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "id\twho\tuntil\tby\trefused\twhy")
	for _, b := range list {
		until := "it is lifted"
		if b.Until != nil {
			until = b.Until.UTC().Format(time.RFC3339)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%s\n", b.ID, b.Names(), until, b.By, b.Refused, b.Reason)
	}
	return t.Flush()
}

func ctlBanRemoveCommand(e *env, c *ctlFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "rm ID",
		Short: "Lift a ban",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return misuse("give the id of one ban: fantail ctl ban list shows them")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			resp, err := c.ask(e.ctx, http.MethodDelete, api.BansPath+"/"+url.PathEscape(args[0]))
			if err != nil {
				return err
			}
			_ = resp.Body.Close()
			_, err = fmt.Fprintf(e.stdout, "%s: lifted\n", args[0])
			return err
		},
	}
}
