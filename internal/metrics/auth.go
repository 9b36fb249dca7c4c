package metrics

import "github.com/prometheus/client_golang/prometheus"

// Step is how often a step of the authentication has said what.
type Step struct {
	Name                             string   // no two steps have one
	Ignored, Allowed, Denied, Failed uint64   // Failed are among Denied
	Backend                          *Backend // nil: it asks nobody
	Memory                           *Memory  // nil: it remembers nothing
}

// Backend is whom a step asks, as the breaker before it sees that.
type Backend struct {
	Open         bool   // it is left alone
	Opened       uint64 // how often that began
	Calls        uint64 // that have ended
	Failed, Late uint64 // of those; Late, for want of an answer in time, are among Failed
	Refused      uint64 // not asked, because it is left alone
	Busy         uint64 // not asked, because no place came free
}

// Memory is what a step remembers of what its backend said.
type Memory struct{ Hits, Misses uint64 }

// stepsCollector reads the steps when it is asked.
type stepsCollector func() []Step

// Describe implements prometheus.Collector.
func (c stepsCollector) Describe(out chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, out) }

// Collect implements prometheus.Collector.
func (c stepsCollector) Collect(out chan<- prometheus.Metric) {
	for _, s := range c() {
		e := stepEmitter{out: out, step: s.Name}
		e.each("total", "What the steps of the authentication said of clients.", "verdict",
			map[string]uint64{"ignore": s.Ignored, "allow": s.Allowed, "deny": s.Denied})
		e.count("failures_total", "Clients that a step denied because it could not find out.", s.Failed)
		if s.Backend != nil {
			e.backend(s.Backend)
		}
		if m := s.Memory; m != nil {
			e.each("cache_total", "Looks for a remembered answer of the backend, by result.", "result", map[string]uint64{"hit": m.Hits, "miss": m.Misses})
		}
	}
}

// stepEmitter shows the figures of one step.
type stepEmitter struct {
	out  chan<- prometheus.Metric
	step string
}

func (e stepEmitter) backend(b *Backend) {
	open := 0.0
	if b.Open {
		open = 1
	}
	e.emit(prometheus.GaugeValue, "backend_open", "1 while the backend of a step is left alone because it failed too often.", open, nil)
	e.count("backend_opened_total", "Times that the backend of a step began to be left alone, or failed again when it was tried.", b.Opened)
	e.count("backend_calls_total", "Questions to the backend of a step that have ended.", b.Calls)
	e.each("backend_failures_total", "Those of the questions that failed, by reason.", "reason",
		map[string]uint64{"error": b.Failed - b.Late, "timeout": b.Late})
	e.each("backend_refused_total", "Questions that were not put to the backend of a step, by reason.", "reason",
		map[string]uint64{"open": b.Refused, "busy": b.Busy})
}

func (e stepEmitter) count(name, help string, n uint64) {
	e.emit(prometheus.CounterValue, name, help, float64(n), nil)
}

// each shows the counters of one family.
func (e stepEmitter) each(name, help, label string, counts map[string]uint64) {
	for value, n := range counts {
		e.emit(prometheus.CounterValue, name, help, float64(n), []string{label}, value)
	}
}

func (e stepEmitter) emit(kind prometheus.ValueType, name, help string, v float64, labels []string, values ...string) {
	desc := prometheus.NewDesc("fantail_auth_"+name, help, append([]string{"step"}, labels...), nil)
	e.out <- prometheus.MustNewConstMetric(desc, kind, v, append([]string{e.step}, values...)...)
}
