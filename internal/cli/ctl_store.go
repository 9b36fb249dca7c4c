package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/fantail-mqtt/fantail/internal/api"
)

func ctlStoreCommand(e *env, c *ctlFlags) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "store [--json]",
		Short: "Print the figures of the store",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			resp, err := c.ask(e.ctx, http.MethodGet, api.StorePath)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			if asJSON {
				_, err = io.Copy(e.stdout, resp.Body)
			} else {
				err = printStore(e.stdout, resp.Body, time.Now())
			}
			if err != nil {
				return &status{exitFailed, fmt.Errorf("print the figures of the store: %w", err)}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the JSON of the broker's answer, with sizes in bytes and times in seconds")
	return cmd
}

func printStore(w io.Writer, answer io.Reader, now time.Time) error {
	var f api.Figures
	if err := json.NewDecoder(answer).Decode(&f); err != nil {
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(t, name+"\t"+format+"\n", args...) }
	row("directory", "%s", f.Directory)
	row("disk", "%s (log: %s), %s", inUnits(f.Disk.Bytes), inUnits(f.Disk.Log), free(f.Disk.Free))
	row("sessions", "%s, with %s subscriptions", count(f.Sessions), count(f.Subscriptions))
	row("queued", "%s messages, %s; %s sessions have some on disk", count(f.Queued.Messages), inUnits(f.Queued.Bytes), count(f.Queued.Sessions))
	row("oldest queued", "%s", age(f.Queued.Oldest, now))
	row("retained", "%s messages, %s", count(f.Retained.Messages), inUnits(f.Retained.Bytes))
	row("committed", "%s records in %s frames; %s wait", count(f.Frames.Records), count(f.Frames.Committed), inUnits(f.Frames.Open))
	row("fsync", "%s", syncs(&f.Sync))
	row("damage", "%s", damage(&f.Damage))
	row("state", "%s", state(f.Failing, f.Failures, now))
	return t.Flush()
}

// count is n with a comma between thousands.
func count(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// inUnits is n bytes with three digits.
func inUnits(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f := float64(n)
	for _, unit := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if f /= 1024; f < 999.5 || unit == "TiB" {
			return fmt.Sprintf("%.*f %s", digits(f), f, unit)
		}
	}
	panic("unreachable")
}

// digits is how many stand behind the point where three are shown.
func digits(f float64) int {
	switch {
	case f >= 99.95:
		return 0
	case f >= 9.995:
		return 1
	}
	return 2
}

func free(n int64) string {
	if n < 0 {
		return "free space unknown"
	}
	return inUnits(n) + " free"
}

func age(at *time.Time, now time.Time) string {
	if at == nil {
		return "-"
	}
	return fmt.Sprintf("%s, %v ago", at.UTC().Format(time.RFC3339), max(now.Sub(*at), 0).Truncate(time.Second))
}

func syncs(s *api.Sync) string {
	if s.Max == 0 {
		return "none yet"
	}
	return fmt.Sprintf("p50 %s, p99 %s, max %s, of the last commits", milliseconds(s.P50), milliseconds(s.P99), milliseconds(s.Max))
}

func milliseconds(seconds float64) string {
	ms := seconds * 1000
	return fmt.Sprintf("%.*f ms", digits(ms), ms)
}

func damage(d *api.Damage) string {
	if *d == (api.Damage{}) {
		return "none found"
	}
	return fmt.Sprintf("%s files quarantined and %s sessions discarded at start, %s corrupt reads since: the log has more",
		count(d.Quarantined), count(d.Discarded), count(d.Corruptions))
}

func state(f *api.Failing, failures int64, now time.Time) string {
	switch {
	case f != nil:
		return fmt.Sprintf("takes nothing new since %s: %s", age(&f.Since, now), f.Why)
	case failures > 0:
		return fmt.Sprintf("good; it took nothing new %s times, for a while", count(failures))
	}
	return "good"
}
