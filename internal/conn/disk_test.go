package conn

import (
	"errors"
	"testing"

	"github.com/fantail-mqtt/fantail/internal/broker"
	"github.com/fantail-mqtt/fantail/internal/loop"
	"github.com/fantail-mqtt/fantail/internal/record"
	"github.com/fantail-mqtt/fantail/packet"
)

var _ broker.Store = (*disk)(nil)

// disk is a store whose room a test decides about.
type disk struct {
	broker.Memory
	crowded bool
	failing error
	again   []func()
}

func (d *disk) Load(_ string, _ uint64, _ int, done func([]record.Queued, error)) { done(nil, nil) }

func (d *disk) Overdue(_ int64, _ record.Run, done func([]record.Run, int64, error)) {
	done(nil, 0, nil)
}

func (d *disk) Standing(runs []record.Run, done func([]record.Run, error)) { done(runs, nil) }

func (d *disk) Room(again func()) bool {
	if d.crowded {
		d.again = append(d.again, again)
	}
	return !d.crowded
}

func (d *disk) Failing() error { return d.failing }

// clear makes room.
func (d *disk) clear() {
	d.crowded = false
	for _, f := range d.again {
		f()
	}
	d.again = nil
}

// diskClient is a client of a server over a disk.
type diskClient struct {
	s *sock
	c *Conn
	l loop.Local
}

func (w *world) diskClient(id string, v packet.Version) *diskClient {
	d := &diskClient{s: newSock(), l: w.broker.NewTick()}
	d.c = d.s.accept(w.server)
	d.feed(packet.AppendConnect(nil, &packet.Connect{Version: v, ClientID: id, CleanStart: true, KeepAlive: 10}))
	d.s.out = nil
	return d
}

func (d *diskClient) feed(b []byte) {
	d.c.Data(d.l, b)
	d.l.(*broker.Tick).End()
}

// posts runs what was posted.
func (d *diskClient) posts() {
	posts := d.s.posts
	d.s.posts = nil
	for _, f := range posts {
		f(d.l)
	}
	d.l.(*broker.Tick).End()
}

func (d *diskClient) publish(v packet.Version, retain bool) {
	d.feed(packet.AppendPublish(nil, &packet.Publish{Topic: []byte("t"), Payload: []byte("x"), QoS: 1, ID: 7, Retain: retain}, v))
}

func TestADiskThatIsBehindSlowsItsClientsDown(t *testing.T) {
	at := &disk{}
	w := worldOn(at, nil)
	defer w.close()
	d := w.diskClient("a", packet.V5)
	at.crowded = true
	d.publish(packet.V5, false)
	d.publish(packet.V5, false)
	if !d.s.paused || len(at.again) != 1 {
		t.Fatalf("paused: %v; asked for room %d times", d.s.paused, len(at.again))
	}
	d.c.Due(d.c.heard() + 15_000) // its keep-alive is over, and nothing of it was read
	d.posts()
	if d.s.ended {
		t.Fatal("the connection has ended for what could not be read")
	}
	at.clear()
	d.posts()
	if d.s.paused {
		t.Error("reading does not go on")
	}
	d.s.full = true
	at.crowded = true
	var pings []byte
	for range 200_000 {
		pings = packet.AppendPingreq(pings)
	}
	d.feed(pings) // more answers than may be pending
	d.feed(pings)
	at.clear()
	d.posts()
	if !d.s.paused {
		t.Error("reading goes on while the client does not read")
	}
	d.s.full = false
	d.c.Writable(d.l)
	if d.s.paused {
		t.Error("reading does not go on")
	}
}

func TestADiskThatFailsRefusesWhatItWouldHaveToKeep(t *testing.T) {
	at := &disk{}
	w := worldOn(at, nil)
	defer w.close()
	five, three := w.diskClient("five", packet.V5), w.diskClient("three", packet.V311)
	at.failing = errors.New("the disk is full")
	five.publish(packet.V5, true)
	f, _, err := packet.Split(five.s.out, packet.MaxLength)
	if err != nil || f.Type != packet.PUBACK {
		t.Fatalf("% x came, want a PUBACK", five.s.out)
	}
	if a, err := packet.ParseAck(f.Type, f.Body, packet.V5); err != nil || a.Code != packet.QuotaExceeded {
		t.Errorf("PUBACK: %v, %v, want quota exceeded", a.Code, err)
	}
	five.s.out = nil
	five.publish(packet.V5, false) // nobody gets it, so nothing is kept
	if f, _, _ := packet.Split(five.s.out, packet.MaxLength); f.Type != packet.PUBACK || len(f.Body) > 2 && packet.Code(f.Body[2]).Failed() {
		t.Errorf("% x came, want a PUBACK that says yes", five.s.out)
	}
	three.publish(packet.V311, true)
	if !three.s.ended || len(three.s.out) > 0 {
		t.Errorf("ended: %v, % x came, want an end without PUBACK", three.s.ended, three.s.out)
	}
	if m, _ := w.broker.RetainedCount(); m != 0 {
		t.Error("the message is retained")
	}
	at.failing = nil
	five.publish(packet.V5, true)
	if m, _ := w.broker.RetainedCount(); m != 1 {
		t.Error("the message is not retained, and the disk has room")
	}
}
