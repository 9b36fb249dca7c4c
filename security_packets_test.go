package fantail_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/fantail-mqtt/fantail"
	"github.com/fantail-mqtt/fantail/packet"
)

// crowd sends these bytes over n connections, which it leaves open.
func (s *server) crowd(t *testing.T, n int, b []byte) []*wire {
	t.Helper()
	all := make([]*wire, n)
	for i := range all {
		all[i] = s.dial(t)
		all[i].send(b)
	}
	return all
}

// A length is a promise: it takes no memory, and a packet that is too long or
// not a CONNECT is refused by its first bytes.
func TestAnnouncedLengthsTakeNoMemory(t *testing.T) {
	cases := map[string][]byte{
		"a CONNECT of 256 MB":  {0x10, 0xFF, 0xFF, 0xFF, 0x7F, 0, 4, 'M', 'Q', 'T', 'T', 5},
		"a PUBLISH of 256 MB":  {0x30, 0xFF, 0xFF, 0xFF, 0x7F, 0, 1, 'a'},
		"a PUBLISH of 1000 kB": {0x30, 0xA0, 0x84, 0x3D, 0, 1, 'a'},
		"a reserved packet":    {0x00, 0xA0, 0x84, 0x3D, 0, 1, 'a'},
	}
	everywhere(t, func(t *testing.T, transport string) {
		for name, first := range cases {
			t.Run(name, func(t *testing.T) {
				s := serve(t, transport, fantail.Config{}, nil)
				heap := liveHeap()
				const n = 100
				for _, w := range s.crowd(t, n, first) {
					_, _ = io.Copy(io.Discard, w.conn) // until it is refused
				}
				if grown := liveHeap() - heap; grown > n*20<<10 {
					t.Errorf("the heap has grown by %d bytes", grown)
				}
				if refused := s.total(t, "connections_refused_total"); refused != n {
					t.Errorf("%v were refused, want %d", refused, n)
				}
			})
		}
	})
}

// A CONNECT of which only the beginning has come takes what has come.
func TestUnfinishedCONNECTsTakeWhatHasCome(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, nil)
		pub := s.device(t, "pub", nil)
		heap := liveHeap()
		const n = 200
		waiting := s.crowd(t, n, []byte{0x10, 0xA0, 0x84, 0x3D, 0, 4, 'M', 'Q', 'T', 'T', 5})
		pub.quiet() // the loops have seen them all
		if grown := liveHeap() - heap; grown > n*20<<10 {
			t.Errorf("the heap has grown by %d bytes", grown)
		}
		for _, w := range waiting {
			w.conn.Close()
		}
	})
}

// A CONNECT that is long in coming takes what has come of it, and goes with
// the connect timeout, however often a byte arrives.
func TestACONNECTByteByByteIsCutOff(t *testing.T) {
	atOnce(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{Limits: fantail.Limits{ConnectTimeout: time.Second}}, nil)
		c := packet.AppendConnect(nil, &packet.Connect{Version: packet.V5, CleanStart: true, ClientID: strings.Repeat("x", 2000)})
		w := s.dial(t)
		start := time.Now()
		drip := time.NewTicker(20 * time.Millisecond)
		defer drip.Stop()
		for _, b := range c {
			if _, err := w.conn.Write([]byte{b}); err != nil {
				break
			}
			<-drip.C
		}
		if d := time.Since(start); d > 10*time.Second {
			t.Errorf("it was cut off after %v", d)
		}
		s.reaches(t, "connections_refused_total{reason=\"connect_timeout\"}", 1)
	})
}

// As many user properties as a packet may hold are taken in at a glance.
func TestManyUserPropertiesAreQuick(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, nil)
		many := make([]packet.UserProperty, 90_000)
		for i := range many {
			many[i] = packet.UserProperty{Key: "k", Value: "v"}
		}
		forward := packet.AppendForward(nil, &packet.ForwardProperties{User: many})
		heap, start := liveHeap(), time.Now()
		for i := range 20 {
			w := s.dial(t)
			c := packet.Connect{Version: packet.V5, ClientID: fmt.Sprint("many", i)}
			c.User = many
			w.send(packet.AppendConnect(nil, &c))
			_, _ = w.read() // CONNACK
			w.conn.Close()
			w = s.device(t, fmt.Sprint("pub", i), nil)
			if code := w.publish(packet.Publish{Topic: []byte("a"), QoS: 1, Forward: forward}); code.Failed() {
				t.Errorf("PUBACK: %v", code)
			}
			w.conn.Close()
		}
		if d := time.Since(start); d > 10*time.Second {
			t.Errorf("twenty clients took %v", d)
		}
		s.device(t, "last", nil).quiet()
		if grown := liveHeap() - heap; grown > 8<<20 {
			t.Errorf("the heap has grown by %d bytes", grown)
		}
	})
}

// Messages of QoS 2 that a client sends again and again under one identifier,
// or whose PUBRECs it never answers, are one open exchange each.
func TestRepeatedQoS2KeepsNothing(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, nil)
		sub := s.device(t, "sub", nil).to("a", 0)
		w := s.device(t, "x", nil)
		one := packet.AppendPublish(nil, &packet.Publish{Topic: []byte("a"), Payload: make([]byte, 2000), QoS: 2, ID: 7}, packet.V5)
		heap := liveHeap()
		for i := range 5000 {
			if i == 1 {
				one[0] |= 8 // DUP
			}
			w.send(one)
			if code := w.ack(packet.PUBREC, 7); code != packet.Success {
				t.Fatalf("PUBREC: %v", code)
			}
		}
		if grown := liveHeap() - heap; grown > 4<<20 {
			t.Errorf("the heap has grown by %d bytes", grown)
		}
		if p := sub.message(); len(p.Payload) != 2000 {
			t.Errorf("%d bytes came", len(p.Payload))
		}
		sub.quiet() // once
	})
}

// CONNECTs that are nearly right leave nothing behind.
func TestCraftedCONNECTsLeaveNothing(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, nil)
		c := packet.Connect{
			Version: packet.V5, ClientID: "crafted", HasUserName: true, UserName: "u", HasPassword: true, Password: make([]byte, 10_000),
			Will: &packet.Will{Topic: "w", Payload: make([]byte, 20_000), Delay: 90, Expiry: 1, HasExpiry: true},
		}
		c.SessionExpiry, c.HasSessionExpiry = 60, true
		good := packet.AppendConnect(nil, &c)
		rnd := rand.New(rand.NewPCG(1, 2))
		again := func(n int) {
			for range n {
				b := append([]byte(nil), good...)
				for range 1 + rnd.IntN(3) {
					at := 3 + rnd.IntN(60) // the header, the properties, the will's
					b[at] = byte(rnd.Uint32())
				}
				conn, err := net.Dial("tcp", s.mqtt[0])
				if err != nil {
					t.Fatal(err)
				}
				_, _ = conn.Write(b)
				_ = conn.(*net.TCPConn).CloseWrite()
				_ = conn.SetReadDeadline(time.Now().Add(patience))
				_, _ = io.Copy(io.Discard, conn)
				conn.Close()
			}
		}
		again(100)
		heap := liveHeap()
		again(1000)
		eventually(t, func() bool { return s.figure(t, "clients_connected") == 0 }, func() any { return s.figure(t, "clients_connected") })
		most := int64(15 << 20) // they were 30 MB
		if transport == onDisk {
			most += 32 << 20 // another table of the store's, which has what a few of them began
		}
		if grown := liveHeap() - heap; grown > most {
			t.Errorf("the heap has grown by %d bytes", grown)
		}
		s.device(t, "honest", nil).quiet()
	})
}

// Connections that subscribe, publish, unsubscribe and leave in any order end
// as they began: with nothing.
func TestSequencesOfPacketsLeaveNothing(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, nil)
		steps := []func(id uint16) []byte{
			func(id uint16) []byte {
				return packet.AppendSubscribe(nil, &packet.Subscribe{ID: id, Filters: []packet.Subscription{{Filter: "a/+", QoS: 2}, {Filter: "$share/g/a/b"}}}, packet.V5)
			},
			func(id uint16) []byte {
				return packet.AppendUnsubscribe(nil, &packet.Unsubscribe{ID: id, Filters: []string{"$share/g/a/b", "a/+", "never"}}, packet.V5)
			},
			func(id uint16) []byte {
				return packet.AppendPublish(nil, &packet.Publish{Topic: []byte("a/b"), Payload: make([]byte, 10_000), QoS: byte(id % 3), ID: id}, packet.V5)
			},
			func(id uint16) []byte { return packet.AppendAck(nil, packet.PUBREL, &packet.Ack{ID: id}, packet.V5, 0) },
			func(id uint16) []byte { return packet.AppendAck(nil, packet.PUBREC, &packet.Ack{ID: id}, packet.V5, 0) },
			func(uint16) []byte { return packet.AppendDisconnect(nil, &packet.Disconnect{}, packet.V5, 0) },
			func(uint16) []byte {
				return packet.AppendConnect(nil, &packet.Connect{Version: packet.V5, ClientID: "x", CleanStart: true})
			},
		}
		rnd := rand.New(rand.NewPCG(3, 4))
		again := func(n int) {
			for range n {
				b := steps[len(steps)-1](0)
				for range rnd.IntN(12) {
					b = append(b, steps[rnd.IntN(len(steps))](uint16(1+rnd.IntN(5)))...)
				}
				conn, err := net.Dial("tcp", s.mqtt[0])
				if err != nil {
					t.Fatal(err)
				}
				_, _ = conn.Write(b)
				_ = conn.(*net.TCPConn).CloseWrite()
				_ = conn.SetReadDeadline(time.Now().Add(patience))
				_, _ = io.Copy(io.Discard, conn)
				conn.Close()
			}
		}
		again(100)
		heap := liveHeap()
		again(1000)
		eventually(t, func() bool { return s.figure(t, "sessions") == 0 }, func() any { return s.figure(t, "sessions") })
		if n := s.figure(t, "subscriptions"); n != 0 {
			t.Errorf("%v subscriptions are left", n)
		}
		if grown := liveHeap() - heap; grown > 6<<20 {
			t.Errorf("the heap has grown by %d bytes", grown)
		}
	})
}

// What only a server may send, and what means nothing, ends the connection
// that it comes on, and no other.
func TestPacketsOfTheServerAreRefused(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{}, nil)
		honest := s.device(t, "honest", nil)
		for name, b := range map[string][]byte{
			"CONNACK":                  {0x20, 3, 0, 0, 0},
			"CONNACK without a body":   {0x20, 0},
			"CONNACK with properties":  {0x20, 6, 0, 0, 3, 0x21, 0, 0},
			"SUBACK":                   {0x90, 4, 0, 1, 0, 0},
			"SUBACK without a code":    {0x90, 2, 0, 1},
			"UNSUBACK":                 {0xB0, 4, 0, 1, 0, 0},
			"PINGRESP":                 {0xD0, 0},
			"packet 0":                 {0x00, 0},
			"a PUBREL of nothing, odd": {0x60, 2, 0, 1},
			"PUBLISH without a topic":  {0x30, 3, 0, 0, 0},
			"PUBLISH of no length":     {0x30, 0},
			"SUBSCRIBE to nothing":     {0x82, 3, 0, 1, 0},
			"a second CONNECT":         packet.AppendConnect(nil, &packet.Connect{Version: packet.V5, ClientID: "again"}),
			"AUTH":                     {0xF0, 0},
			"PUBACK of packet 0":       {0x40, 2, 0, 0},
		} {
			w := s.device(t, "odd", nil)
			w.send(b)
			for f := w.next(); f.Type != packet.DISCONNECT; f = w.next() {
				t.Errorf("%s was answered with %v", name, f.Type)
			}
			w.ended()
			old := s.old(t, "old")
			old.send(b)
			if name != "PUBLISH without a topic" && name != "SUBSCRIBE to nothing" { // others of 3.1.1 by their lengths
				old.ended()
			}
			old.conn.Close()
			honest.quiet()
		}
	})
}

// Retained messages are as many, and as large together, as the limits say; the
// others are refused by name, and those that were there stay.
func TestAFloodOfRetainedMessagesIsBounded(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{Limits: fantail.Limits{RetainedMessages: 50, RetainedBytes: 20 << 10}}, nil)
		w := s.device(t, "flood", nil)
		kept := 0
		for i := range 200 {
			switch code := w.keep(fmt.Sprint("flood/", i), strings.Repeat("x", i+1)); code {
			case packet.Success, packet.NoMatchingSubscribers:
				kept++
			case packet.QuotaExceeded:
			default:
				t.Fatalf("PUBACK: %v", code)
			}
		}
		if kept != 50 {
			t.Errorf("%d were kept, want 50", kept)
		}
		if code := w.keep("flood/0", strings.Repeat("x", 30<<10)); code != packet.QuotaExceeded {
			t.Errorf("more than the bytes there may be: %v", code)
		}
		if code := w.keep("flood/1", ""); code.Failed() {
			t.Errorf("one less: %v", code)
		}
	})
}
