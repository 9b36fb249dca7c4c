// Command compare measures what brokers spend per message, in turns on the same
// machine, and writes a table. Mosquitto is the yardstick: figures of different
// days or machines compare only by their ratio to it.
//
// It starts every broker itself, a fresh process for each measurement on a free
// port of 127.0.0.1, and goes round: for each round, for each scenario, for
// each broker. What drifts on the machine then meets all brokers alike.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/fantail-mqtt/fantail/internal/load"
)

const (
	exitFailed = 1 // something could not be run or written
	exitUsage  = 2
	exitFaulty = 4 // a broker lost, repeated or reordered messages, or stalled
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parseOptions(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(stderr, "compare:", err)
		return exitUsage
	}
	if _, err := load.RaiseFileLimit(); err != nil {
		fmt.Fprintln(stderr, "compare:", err)
		return exitFailed
	}
	r := newReport(ctx, o, args)
	if err := measureAll(ctx, o, r, stderr); err != nil {
		fmt.Fprintln(stderr, "compare:", err)
		return exitFailed
	}
	if err := publish(r, o.out, stdout); err != nil {
		fmt.Fprintln(stderr, "compare:", err)
		return exitFailed
	}
	return r.exitCode()
}

// publish prints the report and keeps it as a file.
func publish(r *report, dir string, stdout io.Writer) error {
	text := r.markdown()
	if _, err := io.WriteString(stdout, text); err != nil {
		return err
	}
	path, err := keep(dir, r.fileName(), text)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "\nwritten to %s\n", path)
	return err
}
