package metrics

import "github.com/prometheus/client_golang/prometheus"

// Disk is how the store of the broker is.
type Disk struct {
	Failing                  bool // it keeps nothing new
	Failures                 uint64
	Frames, Records          uint64 // committed
	Waiting                  int    // bytes that wait for the commit under way
	Bytes, Log, Free         int64  // of its files, of its log, free on the disk (below 0: unknown)
	SyncP50, SyncP99         float64
	Quarantined, Corruptions uint64
}

// diskCollector reads the disk when it is asked.
type diskCollector func() Disk

// Describe implements prometheus.Collector: what it collects says so itself.
func (c diskCollector) Describe(out chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, out) }

// Collect implements prometheus.Collector.
func (c diskCollector) Collect(out chan<- prometheus.Metric) {
	d := c()
	failing := 0.0
	if d.Failing {
		failing = 1
	}
	emit := func(kind prometheus.ValueType, name, help string, v float64) {
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc("fantail_store_"+name, help, nil, nil), kind, v)
	}
	emit(prometheus.GaugeValue, "failing", "1 while the disk takes nothing new.", failing)
	emit(prometheus.CounterValue, "failures_total", "Times the disk stopped taking what had to be kept.", float64(d.Failures))
	emit(prometheus.CounterValue, "frames_total", "Frames committed, each with one sync of the disk.", float64(d.Frames))
	emit(prometheus.CounterValue, "records_total", "Changes of durable state in those frames.", float64(d.Records))
	emit(prometheus.GaugeValue, "waiting_bytes", "Bytes that wait for the commit under way.", float64(d.Waiting))
	emit(prometheus.GaugeValue, "bytes", "Bytes of the store's files.", float64(d.Bytes))
	emit(prometheus.GaugeValue, "log_bytes", "Bytes of its log that are not in its files yet.", float64(d.Log))
	if d.Free >= 0 {
		emit(prometheus.GaugeValue, "free_bytes", "Bytes that are free on its disk.", float64(d.Free))
	}
	emit(prometheus.GaugeValue, "sync_p50_seconds", "Median duration of the last commits.", d.SyncP50)
	emit(prometheus.GaugeValue, "sync_p99_seconds", "99th percentile of the same.", d.SyncP99)
	emit(prometheus.GaugeValue, "quarantined_files", "Files put aside at start because they could not be read.", float64(d.Quarantined))
	emit(prometheus.CounterValue, "corruptions_total", "Reads that met a corrupt file.", float64(d.Corruptions))
}
