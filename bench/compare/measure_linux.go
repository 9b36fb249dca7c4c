package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/fantail-mqtt/fantail/bench/broker"
	"github.com/fantail-mqtt/fantail/internal/load"
)

const (
	warmUp     = 500 * time.Millisecond
	drainTime  = 2 * time.Second
	idleSettle = time.Second
)

// measureAll goes round by round, scenario by scenario, broker by broker. Only
// the end of ctx stops it: what fails is part of the report.
func measureAll(ctx context.Context, o *options, r *report, progress io.Writer) error {
	for round := range o.rounds {
		for i, sc := range o.scenarios {
			if err := measureTurns(ctx, o, r.loads[i], sc.Name(), round, progress); err != nil {
				return err
			}
		}
		if err := measureLadders(ctx, o, r, round, progress); err != nil {
			return err
		}
		if err := measureDurables(ctx, o, r, round, progress); err != nil {
			return err
		}
		if err := measureIdle(ctx, o, r, round, progress); err != nil {
			return err
		}
	}
	return nil
}

// measureTurns gives each broker its turn at a scenario.
func measureTurns(ctx context.Context, o *options, t *loadTable, name string, round int, progress io.Writer) error {
	for _, k := range o.under(t.scenario) {
		result, err := measureLoad(ctx, k, t.scenario, o.seconds)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		t.add(k.Name, result, err)
		fmt.Fprintf(progress, "round %d  %-18s %-12s %s\n", round+1, name, k.Name, loadLine(result, err))
	}
	return nil
}

// measureIdle does one round of the idle scenario, without subscriptions and
// with, and over the layers.
func measureIdle(ctx context.Context, o *options, r *report, round int, progress io.Writer) error {
	for i := range r.idles {
		for _, k := range o.brokers {
			if r.idles[i].over != "" && !layered(k) {
				continue
			}
			result, err := measureCrowd(ctx, k, r.idles[i])
			if ctx.Err() != nil {
				return ctx.Err()
			}
			r.idles[i].add(k.Name, result, err)
			fmt.Fprintf(progress, "round %d  %-18s %-12s %s\n", round+1, r.idles[i].name(), k.Name, idleLine(result, err))
		}
	}
	return nil
}

// measureLoad runs one scenario against a fresh broker.
func measureLoad(ctx context.Context, k broker.Kind, sc load.Scenario, window time.Duration) (result *load.Result, err error) {
	timing := load.Timing{Warm: warmUp, Measure: window, Drain: drainTime}
	err = with(ctx, k, func(to load.Target) error {
		result, err = load.Run(ctx, to, sc, timing)
		return err
	})
	return result, err
}

// measureCrowd opens idle connections to a fresh broker.
func measureCrowd(ctx context.Context, k broker.Kind, t *idleTable) (result *load.IdleResult, err error) {
	if t.over != "" {
		return measureLayered(ctx, k, t.over, t.idle)
	}
	err = with(ctx, k, func(to load.Target) error {
		result, err = load.RunIdle(ctx, to, t.idle)
		return err
	})
	return result, err
}

// with starts a broker for the length of one call.
func with(ctx context.Context, k broker.Kind, use func(load.Target) error) error {
	p, err := k.Start(ctx)
	if err != nil {
		return err
	}
	err = use(load.Target{Addr: p.Addr, PID: p.PID})
	return errors.Join(err, p.Running(), p.Stop())
}

func loadLine(r *load.Result, err error) string {
	if err != nil {
		return "FAILED: " + err.Error()
	}
	return fmt.Sprintf("%8.0f delivered/s  broker %6.2f CPU s/M  p99 %v  generator %.2f CPU s/M  faults: %v",
		perSecond(r.Received, r.Window), r.CPUPerMillion(), r.Latency.Quantile(0.99).Round(time.Microsecond), r.OwnPerMillion(), r.Faults)
}

func idleLine(r *load.IdleResult, err error) string {
	if err != nil {
		return "FAILED: " + err.Error()
	}
	return fmt.Sprintf("%.0f B per connection  %.4f CPU s per 1,000 connects  %d closed", r.PerConnection(), r.PerThousand(), r.Closed)
}

func perSecond(n uint64, window time.Duration) float64 {
	if window <= 0 {
		return 0
	}
	return float64(n) / window.Seconds()
}
