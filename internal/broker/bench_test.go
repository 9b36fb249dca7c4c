package broker

import (
	"fmt"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fantail-mqtt/fantail/internal/session"
	"github.com/fantail-mqtt/fantail/packet"
)

// nowhere is a connection whose client reads all and keeps nothing.
type nowhere struct{ info Info }

func (n *nowhere) Write([][]byte) (bool, bool)  { return true, false }
func (n *nowhere) Gathers() bool                { return true }
func (n *nowhere) Kick([]byte, *packet.Refusal) {}
func (n *nowhere) Again()                       {}
func (n *nowhere) Due(int64) int64              { return 0 }
func (n *nowhere) Info() *Info                  { return &n.info }

func (*nowhere) Join(*Client) {}

func (*nowhere) Standing() (known, ruled bool) { return false, false }

func (n *nowhere) Version() packet.Version { return n.info.Version }

// scene is a broker with a publisher, one subscriber to all that it publishes,
// and the filters of others.
type scene struct {
	b      *Broker
	t      *Tick
	link   *nowhere
	pub    *Client
	others int
	stop   func()
}

// perClient is how many filters each of the other clients has.
const perClient = 1000

func newScene(tb testing.TB, setup func(*Options)) *scene {
	b, stop := newBroker(Memory{}, func(o *Options) {
		o.Limits.Subscriptions, o.Limits.WildcardSubscriptions, o.Limits.MatchNodes = 10_000, 10_000, 2000 // the default
		o.Limits.TopicLevels, o.Limits.PendingBytes = 128, 1<<20
		if setup != nil {
			setup(o)
		}
	})
	s := &scene{b: b, t: b.NewTick(), stop: stop}
	s.pub, s.link = s.connect("publisher")
	sub, link := s.connect("subscriber")
	s.subscribe(tb, sub, link, "acme/+/+/temp")
	return s
}

func (s *scene) connect(id string) (*Client, *nowhere) {
	link := &nowhere{info: Info{ClientID: id, Version: packet.V311, Addr: &net.TCPAddr{}}}
	s.t.Begin()
	defer s.t.End()
	c, _ := s.b.Connect(s.t, link, &Connect{Info: link.info, Terms: session.Terms{Version: packet.V311}}) // it is nobody's client id
	return c, link
}

func (s *scene) subscribe(tb testing.TB, c *Client, link *nowhere, filters ...string) {
	p := &packet.Subscribe{ID: 1}
	for _, f := range filters {
		p.Filters = append(p.Filters, packet.Subscription{Filter: f, RetainHandling: 2})
	}
	s.t.Begin()
	defer s.t.End()
	if err := s.b.Subscribe(s.t, c, link, p); err != nil {
		tb.Fatal(err)
	}
}

func (s *scene) unsubscribe(tb testing.TB, c *Client, link *nowhere, filter string) {
	s.t.Begin()
	defer s.t.End()
	if err := s.b.Unsubscribe(s.t, c, link, &packet.Unsubscribe{ID: 1, Filters: []string{filter}}); err != nil {
		tb.Fatal(err)
	}
}

// crowd adds filters with wildcards of others, up to n in all: they stand among
// the topics that are published to, and match none of them.
func (s *scene) crowd(tb testing.TB, n int) {
	for s.others < n {
		c, link := s.connect(fmt.Sprint("other", s.others))
		filters := make([]string, 0, perClient)
		for i := s.others; i < min(s.others+perClient, n); i++ {
			site, dev := i%1000, i/1000
			f := fmt.Sprintf("acme/site%03d/dev%06d/cmd/#", site, i)
			if i/1000%4 > 0 {
				f = fmt.Sprintf("acme/site%03d/+/t%03d", site, dev)
			}
			filters = append(filters, f)
		}
		s.others += len(filters)
		s.subscribe(tb, c, link, filters...)
	}
}

// topics are n topic names, each of a device of its own.
func topics(n int) [][]byte {
	list := make([][]byte, n)
	for i := range list {
		k := i * 7919 % 1_000_000
		list[i] = fmt.Appendf(nil, "acme/site%03d/dev%06d/temp", k%1000, k)
	}
	return list
}

// round is how many messages are published in one go, 50 to a tick.
const round = 10_000

// publish publishes a round from the i-th name on and returns how long it took.
func (s *scene) publish(tb testing.TB, names [][]byte, i int) time.Duration {
	p := packet.Publish{Payload: make([]byte, 128)}
	begin := time.Now()
	for range round / 50 {
		s.t.Begin()
		for range 50 {
			p.Topic = names[i%len(names)]
			i++
			if err := s.b.Publish(s.t, s.pub, s.link, &p); err != nil {
				tb.Fatal(err)
			}
		}
		s.t.End()
	}
	return time.Since(begin)
}

// best is the fastest tenth of some rounds, in ns a message: what other
// processes did to the rest is not the broker's.
func best(rounds []time.Duration) float64 {
	slices.Sort(rounds)
	return float64(rounds[len(rounds)/10].Nanoseconds()) / round
}

// BenchmarkPublishAmongFilters is a publish at QoS 0 to one subscriber, while
// others have 1,000 to 1,000,000 filters with wildcards. x/1k is the cost against
// that with 1,000 filters. With one topic, and with 256, every plan is at hand;
// with 100,000 none is.
func BenchmarkPublishAmongFilters(b *testing.B) {
	s := newScene(b, nil)
	defer s.stop()
	empty := heap()
	least := map[int]float64{}
	for _, n := range []int{1_000, 10_000, 100_000, 1_000_000} {
		s.crowd(b, n)
		s.t = s.b.NewTick() // without plans
		bytes := float64(heap()-empty) / float64(n)
		for _, of := range []int{1, 256, 100_000} {
			b.Run(fmt.Sprintf("filters=%d/topics=%d", n, of), func(b *testing.B) {
				names := topics(of)
				var rounds []time.Duration
				for i := range max(b.N, 30) {
					rounds = append(rounds, s.publish(b, names, i*round))
				}
				cost := best(rounds)
				if n == 1_000 {
					least[of] = cost
				}
				b.ReportMetric(cost, "ns/msg")
				b.ReportMetric(cost/least[of], "x/1k")
				b.ReportMetric(bytes, "B/filter")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// BenchmarkPublishShared is a publish at QoS 0 to a shared subscription of so many
// members.
func BenchmarkPublishShared(b *testing.B) {
	for _, members := range []int{1, 10, 1000} {
		b.Run(fmt.Sprintf("members=%d", members), func(b *testing.B) {
			s := newScene(b, nil)
			defer s.stop()
			for i := range members {
				c, link := s.connect(fmt.Sprint("member", i))
				s.subscribe(b, c, link, "$share/g/jobs/+")
			}
			names := [][]byte{[]byte("jobs/1")}
			var rounds []time.Duration
			for range max(b.N, 30) {
				rounds = append(rounds, s.publish(b, names, 0))
			}
			b.ReportMetric(best(rounds), "ns/msg")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// heap is what is live.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkPlan finds the plan of a topic that was published to lately: the same
// again and again, or another each time.
func BenchmarkPlan(b *testing.B) {
	s := newScene(b, nil)
	defer s.stop()
	s.crowd(b, 100_000)
	for _, of := range []int{1, 256, 4096} {
		b.Run(fmt.Sprintf("topics=%d", of), func(b *testing.B) {
			names := topics(of)
			var rounds []time.Duration
			s.t.Begin()
			for range max(b.N/round, 100) {
				begin := time.Now()
				for i, at := 0, 0; i < round; i++ {
					s.t.plan(names[at])
					if at++; at == len(names) {
						at = 0
					}
				}
				rounds = append(rounds, time.Since(begin))
			}
			s.t.End()
			b.ReportMetric(best(rounds), "ns/cached")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkPublishHostile publishes to topics that every prefix of a hostile set
// of filters matches, a new one each time, with four times the default limit on
// wildcard filters in the set.
func BenchmarkPublishHostile(b *testing.B) {
	s := newScene(b, nil)
	defer s.stop()
	c, link := s.connect("hostile")
	s.subscribe(b, c, link, hostile(12)...)
	p := packet.Publish{Payload: make([]byte, 128)}
	prefix := strings.Repeat("a/", 12)
	least := time.Hour
	for i := range max(b.N, 2000) {
		p.Topic = fmt.Appendf(p.Topic[:0], "%sb%d", prefix, i)
		s.t.Begin()
		begin := time.Now()
		if err := s.b.Publish(s.t, s.pub, s.link, &p); err != nil {
			b.Fatal(err)
		}
		least = min(least, time.Since(begin))
		s.t.End()
	}
	b.ReportMetric(float64(least.Nanoseconds())/1000, "us/publish")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkPublishBesideSubscribes is the cost of publishing while somebody
// subscribes to something else once every 10,000 messages, 100 times a second at
// a million messages a second, against the cost of publishing alone. The rounds
// take turns. The time of the subscribe itself counts.
func BenchmarkPublishBesideSubscribes(b *testing.B) {
	for _, filter := range []string{"acme/site001/dev000001/cmd/%d", "acme/site002/+/x%d", "acme/+/x%d", "+/+/x%d", "zone%d/#"} {
		for _, of := range []int{256, 10_000} {
			b.Run(fmt.Sprintf("%s/topics=%d", fmt.Sprintf(filter, 1), of), func(b *testing.B) {
				s := newScene(b, nil)
				defer s.stop()
				s.crowd(b, 100_000)
				c, link := s.connect("restless")
				names := topics(of)
				var alone, beside []time.Duration
				for i := range max(b.N, 200) {
					alone = append(alone, s.publish(b, names, 0))
					begin := time.Now()
					if i%2 == 0 {
						s.subscribe(b, c, link, fmt.Sprintf(filter, i))
					} else {
						s.unsubscribe(b, c, link, fmt.Sprintf(filter, i-1))
					}
					took := time.Since(begin)
					beside = append(beside, took+s.publish(b, names, 0))
				}
				b.ReportMetric(best(alone), "ns/msg-alone")
				b.ReportMetric(best(beside), "ns/msg-beside")
				b.ReportMetric(best(beside)/best(alone), "ratio")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}
