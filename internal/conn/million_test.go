package conn

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"runtime"
	"runtime/metrics"
	"testing"
	"time"
	"unsafe"

	"github.com/fantail-mqtt/fantail/internal/broker"
	"github.com/fantail-mqtt/fantail/internal/loop"
	"github.com/fantail-mqtt/fantail/packet"
)

// line is a connection in memory that takes what it is given. It is as large as
// that of an event loop, and its fields are those that an idle one uses.
type line struct {
	group   *lines
	handler loop.Handler
	_       [56]byte
}

// lines are connections with what they have in common.
type lines struct {
	tick    *broker.Tick
	written int // bytes
	posted  []func(loop.Local)
	all     []*line
}

func (c *line) Write(b []byte) bool {
	c.group.written += len(b)
	return true
}
func (c *line) Finish([]byte, error)      {}
func (c *line) Close(error)               {}
func (c *line) Post(f func(loop.Local))   { c.group.posted = append(c.group.posted, f) }
func (c *line) Pause()                    {}
func (c *line) Resume(loop.Local)         {}
func (c *line) SetHandler(h loop.Handler) { c.handler = h }
func (c *line) RemoteAddr() net.Addr      { return (*lineAddr)(c) }

// lineAddr is a line as the address of its peer.
type lineAddr line

func (*lineAddr) Network() string { return "memory" }
func (*lineAddr) String() string  { return "memory" }

// arrive hands packets to a connection, and ends the tick.
func (g *lines) arrive(c *line, packets []byte) {
	c.handler.Data(g.tick, packets)
	g.tick.End()
}

// dial connects a client.
func (g *lines) dial(w *world, id string) *line {
	c := &line{group: g}
	c.handler = w.server.Accept(c, Peer{Addr: c.RemoteAddr(), Transport: "tcp", Listener: "test"})
	g.arrive(c, packet.AppendConnect(nil, &packet.Connect{Version: packet.V311, CleanStart: true, ClientID: id, KeepAlive: 1200}))
	return c
}

// crowd connects n clients, each with a subscription of its own.
func (g *lines) crowd(w *world, n int) {
	for i := range n {
		id := fmt.Sprintf("idle-%07d", i)
		c := g.dial(w, id)
		g.arrive(c, packet.AppendSubscribe(nil, &packet.Subscribe{
			ID: 1, Filters: []packet.Subscription{{Filter: own(i), QoS: 1}},
		}, packet.V311))
	}
}

// own is the topic of a client.
func own(i int) string { return fmt.Sprintf("dev/idle-%07d/cmd", i) }

// BenchmarkMillionSessions says what a million sessions cost that are connected
// and have a subscription each: the memory of one; the processor time of marking
// all of them, in the quickest of several collections, for others on the machine
// make it longer and nothing makes it shorter; and, as its time, a publish to one
// of them with the write to its connection. That one is chosen by chance, so
// that nothing of it is in the processor's cache; hot-ns is a publish to the same
// one again and again.
func BenchmarkMillionSessions(b *testing.B) {
	const n = 1_000_000
	w := newWorld(nil)
	defer w.close()
	before := heap()
	g := &lines{tick: w.broker.NewTick()}
	g.crowd(w, n)
	publisher := g.dial(w, "publisher")
	after := heap()
	if got := w.broker.Stats().Connected.Load(); got != n+1 {
		b.Fatalf("%d are connected", got)
	}
	marked := math.Inf(1)
	for range 7 {
		before := marking()
		runtime.GC()
		marked = min(marked, marking()-before)
	}

	rnd := rand.New(rand.NewPCG(1, 2))
	packets := make([][]byte, 1<<18)
	for i := range packets {
		topic := []byte(own(rnd.IntN(n)))
		packets[i] = packet.AppendPublish(nil, &packet.Publish{Topic: topic, Payload: make([]byte, 128)}, packet.V311)
	}
	const again = 200_000
	start := time.Now()
	for range again {
		g.arrive(publisher, packets[0])
	}
	hot := time.Since(start)

	g.written = 0
	i := 0
	for b.Loop() {
		g.arrive(publisher, packets[i%len(packets)])
		i++
	}
	if want := i * len(packets[0]); g.written != want {
		b.Errorf("%d bytes were written, want %d", g.written, want)
	}
	b.ReportMetric(float64(after-before)/n, "B/session")
	b.ReportMetric(1000*marked, "mark-ms/gc")
	b.ReportMetric(float64(hot.Nanoseconds())/again, "hot-ns")
}

// An idle connection is as large as it was made to be, and a connect allocates
// what it keeps and little else.
func TestIdleIsSmall(t *testing.T) {
	if n := unsafe.Sizeof(Conn{}); n > 112 {
		t.Errorf("a Conn takes %d bytes: what few connections have belongs into extra", n)
	}
	w := newWorld(nil)
	defer w.close()
	g := &lines{tick: w.broker.NewTick()}
	i := 0
	allocated := testing.AllocsPerRun(2000, func() {
		i++
		c := g.dial(w, fmt.Sprint("client ", i))
		g.all = append(g.all, c)
	})
	// line, Conn, its arrival, Client, the CONNECT and its client id; and what the
	// test makes itself, with what grows now and then.
	if allocated > 13 {
		t.Errorf("a connect allocates %v times", allocated)
	}
	for _, c := range g.all {
		if c.handler.(*Conn).extra != nil {
			t.Fatal("a plain connection has an extra")
		}
	}
}

// heap is the memory of the heap that is in use, once garbage is collected: live
// objects, and the gaps between them.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse
}

// marking is how long collections have marked, in seconds of processor time.
func marking() (sum float64) {
	samples := []metrics.Sample{
		{Name: "/cpu/classes/gc/mark/assist:cpu-seconds"},
		{Name: "/cpu/classes/gc/mark/dedicated:cpu-seconds"},
		{Name: "/cpu/classes/gc/mark/idle:cpu-seconds"},
	}
	metrics.Read(samples)
	for i := range samples {
		sum += samples[i].Value.Float64()
	}
	return sum
}
