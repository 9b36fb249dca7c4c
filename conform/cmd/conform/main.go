// Command conform checks a broker against the normative statements of MQTT,
// prints what does not pass and writes the report of all of them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"

	"github.com/fantail-mqtt/fantail/conform"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	defer cancel()
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	cancel()
	os.Exit(code)
}

// run returns the exit status: 1 if a check failed, 2 if there was no run.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	f := flag.NewFlagSet("conform", flag.ContinueOnError)
	f.SetOutput(stderr)
	addr := f.String("addr", "", "host:port of the broker; without it, Fantail is started in this process")
	ws := f.String("ws", "", "ws://host:port/path of its WebSocket listener (without it, /mqtt on -addr)")
	out := f.String("o", "", "file for the report in Markdown")
	match := f.String("run", "", "regular expression for the checks to run, as in \"5.0 MQTT-3.1.2\"")
	all := f.Bool("v", false, "print the checks that pass too")
	strict := f.Bool("strict", false, "count a close without a reason code in 5.0, and an optional feature that is missing, as failures")
	if err := f.Parse(args); err != nil {
		return 2
	}
	o := conform.Options{Addr: *addr, WS: *ws, Codes: *strict, Offers: *strict}
	if *match != "" {
		re, err := regexp.Compile(*match)
		if err != nil {
			fmt.Fprintf(stderr, "conform: -run: %v\n", err)
			return 2
		}
		o.Match = re
	}
	failed, err := check(ctx, o, *out, *all, stdout)
	if err != nil {
		fmt.Fprintf(stderr, "conform: %v\n", err)
		return 2
	}
	if failed > 0 {
		return 1
	}
	return 0
}

func check(ctx context.Context, o conform.Options, out string, all bool, stdout io.Writer) (failed int, err error) {
	if o.Addr == "" {
		addr, stop, err := startBroker(ctx)
		if err != nil {
			return 0, fmt.Errorf("start the broker: %w", err)
		}
		defer stop()
		o.Addr, o.Codes, o.Offers = addr, true, true
	}
	results, err := conform.Run(ctx, o)
	if err != nil {
		return 0, err
	}
	if err := conform.WriteText(stdout, results, all); err != nil {
		return 0, err
	}
	failed = len(conform.Failed(results))
	if out == "" {
		return failed, nil
	}
	return failed, write(out, results)
}

func write(name string, results []conform.Result) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(conform.WriteMarkdown(file, results), file.Close())
}
