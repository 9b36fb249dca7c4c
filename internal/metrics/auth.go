package metrics

import "github.com/prometheus/client_golang/prometheus"

// Step is how often a step of the authentication has said what.
type Step struct {
	Name                             string
	Ignored, Allowed, Denied, Failed uint64 // Failed are among Denied
}

// stepsCollector reads the steps when it is asked.
type stepsCollector func() []Step

// Describe implements prometheus.Collector.
func (c stepsCollector) Describe(out chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, out) }

// Collect implements prometheus.Collector.
func (c stepsCollector) Collect(out chan<- prometheus.Metric) {
	verdicts := prometheus.NewDesc("fantail_auth_total", "What the steps of the authentication said of clients.", []string{"step", "verdict"}, nil)
	failures := prometheus.NewDesc("fantail_auth_failures_total", "Clients that a step denied because it could not find out.", []string{"step"}, nil)
	for _, s := range c() {
		for verdict, n := range map[string]uint64{"ignore": s.Ignored, "allow": s.Allowed, "deny": s.Denied} {
			out <- prometheus.MustNewConstMetric(verdicts, prometheus.CounterValue, float64(n), s.Name, verdict)
		}
		out <- prometheus.MustNewConstMetric(failures, prometheus.CounterValue, float64(s.Failed), s.Name)
	}
}
