// Package metrics shows the broker's counters to Prometheus. It keeps none of
// its own: it reads the broker's when it is asked. No figure has a label that
// grows with the number of clients or topics.
package metrics

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/fantail-mqtt/fantail/internal/broker"
)

// Handler serves the figures of b in the Prometheus text format, and those of
// the steps of its authentication. disk says how its store is, or is nil if
// there is none.
func Handler(b *broker.Broker, version string, disk func() Disk, steps func() []Step) http.Handler {
	r := prometheus.NewRegistry()
	if disk != nil {
		r.MustRegister(diskCollector(disk))
	}
	r.MustRegister(stepsCollector(steps), &collector{b: b, version: version, figures: figures()},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{})
}

// figure is one family of figures.
type figure struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	read func(b *broker.Broker, emit func(v float64, labels ...string))
}

type collector struct {
	b       *broker.Broker
	version string
	figures []figure
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, f := range c.figures {
		out <- f.desc
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	for _, f := range c.figures {
		f.read(c.b, func(v float64, labels ...string) {
			out <- prometheus.MustNewConstMetric(f.desc, f.kind, v, labels...)
		})
	}
	out <- prometheus.MustNewConstMetric(
		prometheus.NewDesc("fantail_info", "The version that runs.", []string{"version"}, nil), prometheus.GaugeValue, 1, c.version)
}

func counter(name, help string, read func(b *broker.Broker, emit func(float64, ...string)), labels ...string) figure {
	return figure{prometheus.NewDesc("fantail_"+name, help, labels, nil), prometheus.CounterValue, read}
}

func gauge(name, help string, read func(b *broker.Broker) float64) figure {
	return figure{
		prometheus.NewDesc("fantail_"+name, help, nil, nil), prometheus.GaugeValue,
		func(b *broker.Broker, emit func(float64, ...string)) { emit(read(b)) },
	}
}

func qos() [3]string { return [3]string{"0", "1", "2"} }

func reasons(r *broker.Reasons, emit func(float64, ...string)) {
	for reason, n := range r.Counts() {
		emit(float64(n), reason)
	}
}

func figures() []figure {
	return []figure{
		counter("publish_received_total", "PUBLISH packets from clients, by QoS.", func(b *broker.Broker, emit func(float64, ...string)) {
			for i, q := range qos() {
				emit(float64(b.Stats().PublishReceived[i].Load()), q)
			}
		}, "qos"),
		counter("publish_sent_total", "Messages delivered to clients, by QoS.", func(b *broker.Broker, emit func(float64, ...string)) {
			for i, q := range qos() {
				emit(float64(b.Stats().PublishSent[i].Load()), q)
			}
		}, "qos"),
		counter("messages_dropped_total", "Messages dropped, by reason.", func(b *broker.Broker, emit func(float64, ...string)) {
			for _, d := range broker.Drops() {
				emit(float64(b.Stats().Dropped[d].Load()), d.String())
			}
		}, "reason"),
		counter("messages_queued_total", "Messages that had to wait for their client.", func(b *broker.Broker, emit func(float64, ...string)) {
			emit(float64(b.Stats().Queued.Load()))
		}),
		counter("messages_redispatched_total", "Messages of shared subscriptions given to another member.",
			func(b *broker.Broker, emit func(float64, ...string)) { emit(float64(b.Stats().Redispatched.Load())) }),
		counter("packets_received_total", "Packets from clients.", func(b *broker.Broker, emit func(float64, ...string)) {
			emit(float64(b.Stats().PacketsReceived.Load()))
		}),
		counter("received_bytes_total", "Bytes of packets from clients.", func(b *broker.Broker, emit func(float64, ...string)) {
			emit(float64(b.Stats().ReceivedBytes.Load()))
		}),
		counter("sent_bytes_total", "Bytes of packets to clients.", func(b *broker.Broker, emit func(float64, ...string)) {
			emit(float64(b.Stats().SentBytes.Load()))
		}),
		counter("connections_closed_total", "Connections of clients that ended, by reason.", func(b *broker.Broker, emit func(float64, ...string)) {
			reasons(&b.Stats().Closed, emit)
		}, "reason"),
		counter("connections_refused_total", "Connections that ended before they were a client's, by reason.",
			func(b *broker.Broker, emit func(float64, ...string)) { reasons(&b.Stats().Refused, emit) }, "reason"),
		counter("rate_slowed_total", "Times a client was not read for a while because it was over a rate, by that.",
			func(b *broker.Broker, emit func(float64, ...string)) { reasons(&b.Stats().RateSlowed, emit) }, "limit"),
		counter("subscriptions_refused_total", "Topic filters refused in SUBSCRIBE.", func(b *broker.Broker, emit func(float64, ...string)) {
			emit(float64(b.Stats().SubscriptionsRefused.Load()))
		}),
		counter("takeovers_total", "Connections ended because another took their client id over.",
			func(b *broker.Broker, emit func(float64, ...string)) { emit(float64(b.Stats().Takeovers.Load())) }),
		counter("slowed_total", "Times a connection was not read because the disk did not keep up.",
			func(b *broker.Broker, emit func(float64, ...string)) { emit(float64(b.Stats().Slowed.Load())) }),
		counter("sessions_expired_total", "Sessions ended by their expiry interval.", func(b *broker.Broker, emit func(float64, ...string)) {
			emit(float64(b.Stats().Expired.Load()))
		}),
		counter("match_budget_exceeded_total", "Publishes whose match visited as many filters as it may.",
			func(b *broker.Broker, emit func(float64, ...string)) { emit(float64(b.Stats().MatchesCut.Load())) }),
		counter("loop_ticks_total", "Rounds of the event loops that had work.", func(b *broker.Broker, emit func(float64, ...string)) {
			emit(float64(b.Stats().Ticks.Load()))
		}),
		counter("loop_flushes_total", "Writes to connections.", func(b *broker.Broker, emit func(float64, ...string)) {
			emit(float64(b.Stats().Flushes.Load()))
		}),
		gauge("clients_connected", "Clients connected.", func(b *broker.Broker) float64 { return float64(b.Stats().Connected.Load()) }),
		gauge("sessions", "Sessions, those of absent clients included.", func(b *broker.Broker) float64 { return float64(b.Stats().Sessions.Load()) }),
		gauge("subscriptions", "Subscriptions.", func(b *broker.Broker) float64 { return float64(b.Subscriptions()) }),
		gauge("retained_messages", "Retained messages.", func(b *broker.Broker) float64 { n, _ := b.RetainedCount(); return float64(n) }),
		gauge("retained_bytes", "Bytes of retained messages.", func(b *broker.Broker) float64 { _, n := b.RetainedCount(); return float64(n) }),
		gauge("queue_messages", "Messages waiting for their clients.", func(b *broker.Broker) float64 { n, _ := b.Waiting(); return float64(n) }),
		gauge("queue_memory_bytes", "Memory of the messages waiting for their clients in memory.", func(b *broker.Broker) float64 { _, n := b.Held(); return float64(n) }),
		gauge("pending_bytes", "Encoded bytes that connections do not take.", func(b *broker.Broker) float64 { n, _ := b.Held(); return float64(n) }),
		gauge("queue_bytes", "Bytes of messages waiting for their clients.", func(b *broker.Broker) float64 { _, n := b.Waiting(); return float64(n) }),
	}
}
