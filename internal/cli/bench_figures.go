package cli

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"time"

	"github.com/fantail-mqtt/fantail/internal/load"
)

// unit is what a figure counts, and so how it is told and compared.
type unit byte

const (
	inNumbers unit = iota
	inRate         // per second
	inSeconds      // also CPU
	inBytes
	inShare // of 1
)

// figure is one thing that was measured. Its name is that of --assert, of the
// column in CSV and, parted at the dots, of the key in JSON.
type figure struct {
	name  string
	value float64
}

// units lists all figures there are.
func units() map[string]unit {
	all := map[string]unit{
		"window":               inSeconds,
		"late.p99":             inSeconds,
		"late.max":             inSeconds,
		"cpu.broker":           inSeconds,
		"cpu.generator":        inSeconds,
		"cpu.others":           inSeconds,
		"cpu.generator_share":  inShare,
		"bytes.sent":           inBytes,
		"bytes.received":       inBytes,
		"memory.before":        inBytes,
		"memory.after":         inBytes,
		"memory.peak":          inBytes,
		"memory.per_client":    inBytes,
		"cpu.broker_per_kconn": inSeconds,
	}
	for _, name := range []string{
		"clients", "sent", "acked", "expected", "received", "lost", "duplicated", "disordered", "damaged", "protocol", "refused", "closed",
		"behind", "stalled.clients", "stalled.connected", "stalled.closed", "churned", "queued", "drained", "set", "fetched",
	} {
		all[name] = inNumbers
	}
	for _, name := range []string{"sent", "acked", "received", "connected", "churned", "queued", "drained", "set", "fetched"} {
		all["rate."+name] = inRate
	}
	for _, what := range []string{"broker", "generator", "broker_queued", "broker_drained", "broker_set", "broker_fetched"} {
		all["cpu."+what+"_per_million"] = inSeconds
	}
	for _, name := range latencies() {
		all[name+".count"] = inNumbers
		for _, q := range quantiles() {
			all[name+"."+q.name] = inSeconds
		}
	}
	return all
}

// latencies are the kinds of latency, in the order of the table.
func latencies() []string { return []string{"connect", "ack", "e2e", "all", "cycle"} }

type quantile struct {
	name string
	of   func(*load.Histogram) time.Duration
}

func quantiles() []quantile {
	at := func(name string, q float64) quantile {
		return quantile{name, func(h *load.Histogram) time.Duration { return min(h.Quantile(q), h.Max()) }}
	}
	return []quantile{at("p50", 0.5), at("p90", 0.9), at("p99", 0.99), at("p999", 0.999), {"max", (*load.Histogram).Max}}
}

// add notes a figure.
func (x *benchReport) add(name string, value float64) {
	x.figures = append(x.figures, figure{name, value})
}

func (x *benchReport) addTime(name string, d time.Duration) { x.add(name, d.Seconds()) }

// addLatency notes what a histogram holds, unless it is empty.
func (x *benchReport) addLatency(name string, h *load.Histogram) {
	if h.Count() == 0 {
		return
	}
	x.add(name+".count", float64(h.Count()))
	for _, q := range quantiles() {
		x.addTime(name+"."+q.name, q.of(h))
	}
}

func (x *benchReport) addFaults(f load.Faults) {
	for _, c := range []struct {
		name string
		n    uint64
	}{
		{"lost", f.Lost},
		{"duplicated", f.Duplicated},
		{"disordered", f.Disordered},
		{"damaged", f.Damaged},
		{"protocol", f.Protocol},
		{"refused", f.Refused},
		{"closed", f.Closed},
	} {
		x.add(c.name, float64(c.n))
	}
}

// find is the value of a figure; false if it was not measured.
func (x *benchReport) find(name string) (float64, bool) {
	i := slices.IndexFunc(x.figures, func(f figure) bool { return f.name == name })
	if i < 0 {
		return 0, false
	}
	return x.figures[i].value, true
}

// traffic notes what a run of traffic measured.
func (x *benchReport) traffic(r *load.Result, withBroker bool) {
	per := func(n uint64) float64 { return float64(n) / max(r.Window.Seconds(), 1e-9) }
	x.add("clients", float64(r.Clients))
	x.addTime("window", r.Window)
	x.add("sent", float64(r.All.Sent))
	x.add("acked", float64(r.All.Acked))
	x.add("expected", float64(r.All.Expected))
	x.add("received", float64(r.All.Received))
	x.addFaults(r.Faults)
	x.add("rate.sent", per(r.Sent))
	x.add("rate.acked", per(r.Acked))
	x.add("rate.received", per(r.Received))
	if r.Churn > 0 || r.Cycle.Count() > 0 {
		x.add("churned", float64(r.Churn))
		x.add("rate.churned", per(r.Churn))
	}
	x.add("bytes.sent", float64(r.BytesOut))
	x.add("bytes.received", float64(r.BytesIn))
	x.addLatency("connect", &r.Connect)
	x.addLatency("ack", &r.Ack)
	x.addLatency("e2e", &r.Latency)
	x.addLatency("cycle", &r.Cycle)
	if withBroker {
		x.addTime("cpu.broker", r.BrokerCPU)
		x.add("cpu.broker_per_million", r.CPUPerMillion())
		x.add("memory.after", float64(r.RSS))
	}
	if s := r.Stalled; s.Clients > 0 {
		x.add("stalled.clients", float64(s.Clients))
		x.add("stalled.connected", float64(s.Connected))
		x.add("stalled.closed", float64(s.Closed))
		if withBroker {
			x.add("memory.before", float64(r.EmptyRSS))
			x.add("memory.peak", float64(r.PeakRSS))
		}
	}
	x.addTime("cpu.generator", r.OwnCPU)
	x.add("cpu.generator_per_million", r.OwnPerMillion())
	x.add("cpu.generator_share", r.OwnCPU.Seconds()/max(r.Window.Seconds(), 1e-9))
	x.addTime("cpu.others", r.OtherCPU)
	x.add("behind", float64(r.Behind))
	if r.Late.Count() > 0 {
		x.addTime("late.p99", r.Late.Quantile(0.99))
		x.addTime("late.max", r.Late.Max())
	}
}

// idle notes what held connections measured.
func (x *benchReport) idle(r *load.IdleResult, withBroker bool) {
	x.add("clients", float64(r.Connections))
	x.addTime("window", r.Elapsed)
	x.addFaults(x.faults)
	x.add("rate.connected", float64(r.Connections)/max(r.Elapsed.Seconds(), 1e-9))
	x.addLatency("connect", &r.Connect)
	if withBroker {
		x.addTime("cpu.broker", r.BrokerCPU)
		x.add("cpu.broker_per_kconn", r.PerThousand())
		x.add("memory.before", float64(r.Empty))
		x.add("memory.after", float64(r.Full))
		x.add("memory.per_client", r.PerConnection())
	}
	x.addTime("cpu.generator", r.OwnCPU)
}

// retained notes what was set and fetched.
func (x *benchReport) retained(r *load.RetainedResult, withBroker bool) {
	x.add("set", float64(r.Set.Messages))
	x.add("fetched", float64(r.Fetched.Messages))
	x.add("expected", float64(r.Expected))
	x.add("received", float64(r.Fetched.Messages))
	x.addFaults(r.Faults)
	x.addStage("set", &r.Set, withBroker)
	x.addStage("fetched", &r.Fetched, withBroker)
	x.addLatency("connect", &r.Connect)
	x.addLatency("ack", &r.Ack)
	x.addLatency("e2e", &r.Latency)
	x.addLatency("all", &r.All)
	if withBroker {
		x.add("memory.before", float64(r.Empty))
		x.add("memory.after", float64(r.Full))
	}
}

// offline notes what was queued and drained.
func (x *benchReport) offline(r *load.DurableResult, withBroker bool) {
	x.add("queued", float64(r.Queue.Messages))
	x.add("drained", float64(r.Drain.Messages))
	x.add("sent", float64(r.Queue.Messages))
	x.add("received", float64(r.Drain.Messages))
	x.addFaults(r.Faults)
	x.addStage("queued", &r.Queue, withBroker)
	x.addStage("drained", &r.Drain, withBroker)
	x.addLatency("connect", &r.Connect)
	x.addLatency("ack", &r.Latency)
	if withBroker {
		x.add("memory.before", float64(r.Empty))
		x.add("memory.after", float64(r.Full))
		x.add("memory.peak", float64(r.Peak))
	}
}

func (x *benchReport) addStage(name string, s *load.Stage, withBroker bool) {
	x.add("rate."+name, float64(s.Messages)/max(s.Elapsed.Seconds(), 1e-9))
	if withBroker {
		x.add("cpu.broker_"+name+"_per_million", s.CPUPerMillion())
	}
}

// shortest is the window that CPU times, of 10 ms each, say something about.
const shortest = 100 * time.Millisecond

// bottleneck says where the generator itself, or the machine, was the limit.
func (x *benchReport) bottleneck(r *load.Result, sc load.Scenario, oneThread bool) {
	if r.Window < shortest {
		return
	}
	window := r.Window.Seconds()
	processors := float64(runtime.NumCPU())
	limit := float64(max(1, sc.Threads))
	if !oneThread {
		limit = processors
	}
	if limit > processors {
		limit = processors
	}
	if used := r.OwnCPU.Seconds() / window; used > 0.9*limit {
		x.warn("the generator used %.0f %% of a processor of the %.0f %% it can: it was the bottleneck, and the broker may do better than this", 100*used, 100*limit)
	}
	if all := (r.OwnCPU + r.BrokerCPU + r.OtherCPU).Seconds() / window; all > 0.95*processors {
		x.warn("all processors of this machine were busy (%.0f %% of %.0f %%): what runs on it takes them from one another", 100*all, 100*processors)
	}
	if sc.Rate == 0 {
		return
	}
	if late := r.Late.Quantile(0.99); late > 2*time.Millisecond {
		x.warn("the generator was late: in 1 of 100 turns by %v or more, at most %v; that is in the latencies", tell(late), tell(r.Late.Max()))
	}
	if r.Behind > 0 {
		x.warn("the open loop is %s messages behind its schedule: the broker took no more, or the generator could not send them", count(int64(r.Behind)))
	}
}

func (x *benchReport) warn(format string, args ...any) {
	x.warnings = append(x.warnings, fmt.Sprintf(format, args...))
}

func sortedNames(all map[string]unit) []string { return slices.Sorted(maps.Keys(all)) }
