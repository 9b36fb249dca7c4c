package crash

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	mqtt "github.com/eclipse/paho.mqtt.golang"

	ours "github.com/fantail-mqtt/fantail/client"
	"github.com/fantail-mqtt/fantail/packet"
)

// parcel is a payload that cannot be compressed: a number, noise and a checksum.
func parcel(n uint64, size int) []byte {
	b := make([]byte, max(size, 12))
	random := rand.New(rand.NewPCG(n, 1))
	for i := 8; i+8 <= len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], random.Uint64())
	}
	binary.BigEndian.PutUint64(b, n)
	binary.BigEndian.PutUint32(b[len(b)-4:], crc32.ChecksumIEEE(b[:len(b)-4]))
	return b
}

// open reads the number of a parcel and says whether it is whole.
func open(b []byte) (n uint64, whole bool) {
	if len(b) < 12 {
		return 0, false
	}
	return binary.BigEndian.Uint64(b), crc32.ChecksumIEEE(b[:len(b)-4]) == binary.BigEndian.Uint32(b[len(b)-4:])
}

// durable5 is a session that outlives its connections.
func durable5() packet.ConnectProperties {
	return packet.ConnectProperties{SessionExpiry: 3600, HasSessionExpiry: true}
}

// enrol leaves a durable session without a connection.
func enrol(t *testing.T, s *server, id, filter string) {
	t.Helper()
	c, err := ours.Dial(t.Context(), ours.Options{URL: "mqtt://" + s.at(), ClientID: id, CleanStart: true, Properties: durable5()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Subscribe(t.Context(), &packet.Subscribe{Filters: []packet.Subscription{{Filter: filter, QoS: 1}}}); err != nil {
		t.Fatal(err)
	}
	if err := c.Disconnect(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
}

// sender publishes parcels on a topic at QoS 1 with many in flight, and remembers
// what was answered.
type sender struct {
	c     *ours.Client
	topic string
	size  int
	next  uint64 // number of the next parcel, from 1 on
	open  sync.WaitGroup

	mu           sync.Mutex // guards these
	acknowledged []uint64   // with success, in order
	refused      []uint64   // with 0x97
	other        []error    // what else was answered
}

func newSender(t *testing.T, s *server, topic string, size int) *sender {
	t.Helper()
	c, err := ours.Dial(t.Context(), ours.Options{URL: "mqtt://" + s.at(), CleanStart: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &sender{c: c, topic: topic, size: size, next: 1}
}

// send publishes one parcel; ctx bounds the wait for a place in flight.
func (s *sender) send(ctx context.Context) error {
	n := s.next
	s.open.Add(1)
	err := s.c.Send(ctx, &ours.Message{Topic: s.topic, QoS: 1, Payload: parcel(n, s.size)}, func(_ ours.Result, err error) {
		s.answered(n, err)
		s.open.Done()
	})
	if err != nil {
		s.open.Done()
		return err
	}
	s.next++
	return nil
}

func (s *sender) answered(n uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var no *packet.Refusal
	switch {
	case err == nil:
		s.acknowledged = append(s.acknowledged, n)
	case errors.As(err, &no) && no.Code == packet.QuotaExceeded:
		s.refused = append(s.refused, n)
	default:
		s.other = append(s.other, fmt.Errorf("message %d: %w", n, err))
	}
}

// burst sends some parcels and waits for all answers.
func (s *sender) burst(t *testing.T, n int) {
	t.Helper()
	for range n {
		if err := s.send(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	s.settle(t)
}

// settle waits until everything sent is answered.
func (s *sender) settle(t *testing.T) {
	t.Helper()
	done := make(chan struct{})
	go func() { // ends with the connection
		s.open.Wait()
		close(done)
	}()
	await(t, done, "for the answers to what was published")
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, err := range s.other {
		t.Error(err)
	}
	s.other = nil
}

func (s *sender) counts() (acknowledged, refused int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.acknowledged), len(s.refused)
}

// drained is what came to a session.
type drained struct {
	present bool
	parcels []uint64
	damaged int
	ended   error // of the connection, if it ended before the last message came
}

// lastWord ends a drain: it is published when the session is connected again, so all
// that waited comes before it.
const lastWord = "the last word"

// drain resumes a session and takes everything that waits for it.
func drain(t *testing.T, s *server, id, topic string) (d drained) {
	t.Helper()
	over := make(chan error, 1)
	c, err := ours.Dial(t.Context(), ours.Options{
		URL: "mqtt://" + s.at(), ClientID: id, Properties: durable5(),
		OnMessage: func(m *ours.Message) {
			if string(m.Payload) == lastWord {
				over <- nil
				return
			}
			n, whole := open(m.Payload)
			if !whole {
				d.damaged++
				return
			}
			d.parcels = append(d.parcels, n)
		},
		OnDisconnect: func(err error) {
			select {
			case over <- err:
			default:
			}
		},
	})
	if err != nil {
		t.Fatalf("resume %s: %v", id, err)
	}
	defer func() { _ = c.Close() }()
	if d.present = c.Connack().SessionPresent; !d.present {
		return d
	}
	p, err := ours.Dial(t.Context(), ours.Options{URL: "mqtt://" + s.at(), CleanStart: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := p.Publish(ctx, &ours.Message{Topic: topic, QoS: 1, Payload: []byte(lastWord)}); err != nil {
		t.Fatalf("the last word to %s: %v", id, err)
	}
	d.ended = await(t, over, "for what waits for "+id)
	return d
}

// complete checks that all that was acknowledged came, in order, once, and undamaged.
func (d *drained) complete(t *testing.T, acknowledged []uint64) {
	t.Helper()
	if !d.present || d.damaged > 0 || d.ended != nil {
		t.Errorf("session present: %v; %d damaged messages; %v", d.present, d.damaged, d.ended)
	}
	if last := d.inOrder(t); len(acknowledged) > 0 && last < acknowledged[len(acknowledged)-1] {
		t.Errorf("the last message that came is %d, and %d was acknowledged", last, acknowledged[len(acknowledged)-1])
	}
	came := make(map[uint64]bool, len(d.parcels))
	for _, n := range d.parcels {
		came[n] = true
	}
	lost := 0
	for _, n := range acknowledged {
		if !came[n] {
			lost++
		}
	}
	if lost > 0 {
		t.Errorf("%d of %d acknowledged messages are lost", lost, len(acknowledged))
	}
}

// inOrder checks that what came is in order, and returns the last.
func (d *drained) inOrder(t *testing.T) (last uint64) {
	t.Helper()
	for _, n := range d.parcels {
		if n <= last {
			t.Errorf("message %d came behind %d", n, last)
			return last
		}
		last = n
	}
	return last
}

// probe5 is a clean session of paho.golang.
type probe5 struct {
	paho *paho.Client
	came chan string // payloads
}

func newProbe5(t *testing.T, s *server, filters ...string) *probe5 {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.at())
	if err != nil {
		t.Fatal(err)
	}
	p := &probe5{came: make(chan string, 100)}
	p.paho = paho.NewClient(paho.ClientConfig{
		Conn: conn, PacketTimeout: patience,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(r paho.PublishReceived) (bool, error) {
			p.came <- string(r.Packet.Payload)
			return true, nil
		}},
	})
	if _, err := p.paho.Connect(t.Context(), &paho.Connect{CleanStart: true, KeepAlive: 60}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.paho.Disconnect(&paho.Disconnect{}) })
	for _, f := range filters {
		if _, err := p.paho.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: f, QoS: 1}}}); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// publish returns the reason code of the PUBACK.
func (p *probe5) publish(t *testing.T, topic, text string, retain bool) byte {
	t.Helper()
	r, err := p.paho.Publish(t.Context(), &paho.Publish{Topic: topic, QoS: 1, Payload: []byte(text), Retain: retain})
	if r == nil {
		t.Fatalf("publish to %s: %v", topic, err)
	}
	return r.ReasonCode
}

// probe3 is a clean session of paho.mqtt.golang, 3.1.1, whose PUBACKs are counted on
// the wire.
type probe3 struct {
	mqtt mqtt.Client
	ear  *ear
	lost chan struct{}
}

// ear counts the PUBACKs that come.
type ear struct {
	net.Conn
	in    framer // owned by the one who reads
	heard atomic.Int64
}

func (e *ear) Read(p []byte) (int, error) {
	n, err := e.Conn.Read(p)
	_ = e.in.feed(p[:n], func(f frame) error {
		if f.kind == typePuback {
			e.heard.Add(1)
		}
		return nil
	})
	return n, err
}

func newProbe3(t *testing.T, s *server) *probe3 {
	t.Helper()
	p := &probe3{lost: make(chan struct{})}
	o := mqtt.NewClientOptions().AddBroker("tcp://127.0.0.1:1").SetProtocolVersion(4).SetCleanSession(true)
	o.SetAutoReconnect(false).SetConnectRetry(false).SetKeepAlive(time.Minute).SetConnectTimeout(patience)
	o.SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) {
		conn, err := net.Dial("tcp", s.at())
		p.ear = &ear{Conn: conn}
		return p.ear, err
	})
	o.SetConnectionLostHandler(func(mqtt.Client, error) { close(p.lost) })
	p.mqtt = mqtt.NewClient(o)
	token := p.mqtt.Connect()
	await(t, token.Done(), "for CONNACK")
	if err := token.Error(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.mqtt.Disconnect(0) })
	return p
}
