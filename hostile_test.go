package fantail_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fantail-mqtt/fantail"
	"github.com/fantail-mqtt/fantail/packet"
)

// total sums a family of figures over its labels.
func (s *server) total(t *testing.T, family string) (sum float64) {
	t.Helper()
	_, text := s.get(t, "/metrics")
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, "fantail_"+family+"{"); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(rest[strings.LastIndexByte(rest, ' '):]), 64)
			if err != nil {
				t.Fatal(err)
			}
			sum += v
		}
	}
	return sum
}

// vandal is a client that does what it should not.
func vandal(rnd *rand.Rand, conn net.Conn, i int) error {
	random := make([]byte, 1+rnd.IntN(300))
	for j := range random {
		random[j] = byte(rnd.Uint32())
	}
	connect := packet.AppendConnect(nil, &packet.Connect{
		Version: pickVersion(i), CleanStart: true, ClientID: fmt.Sprint("vandal", i), KeepAlive: 1,
	})
	publish := packet.AppendPublish(nil, &packet.Publish{Topic: []byte("a"), Payload: random}, pickVersion(i))
	var send []byte
	switch i % 6 {
	case 0:
		send = random
	case 1: // nothing
	case 2:
		send = connect[:1+rnd.IntN(len(connect)-1)]
	case 3:
		send = append(connect, random...)
	case 4:
		send = append(connect, publish[:1+rnd.IntN(len(publish)-1)]...)
	default:
		send = append([]byte{0x10, byte(len(random)), 0, 4, 'M', 'Q', 'T', 'T', 5}, random...)
	}
	if _, err := conn.Write(send); err != nil {
		return nil // the broker was faster
	}
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("vandal %d is still connected, after % x", i, send)
	}
	return nil
}

func pickVersion(i int) packet.Version {
	return [...]packet.Version{packet.V31, packet.V311, packet.V5}[i%3]
}

func TestAThousandVandals(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		const vandals = 1000
		s := serve(t, transport, fantail.Config{Limits: fantail.Limits{ConnectTimeout: time.Second}}, nil)
		sub := s.device(t, "sub", nil).to("honest/#", 1)
		pub := s.device(t, "pub", nil)
		pub.say("honest/a", "warm")
		sub.hears("warm")
		goroutines, heap := runtime.NumGoroutine(), liveHeap()

		var all sync.WaitGroup
		for i := range vandals {
			conn, err := net.Dial("tcp", s.mqtt[0])
			if err != nil {
				t.Fatal(err)
			}
			rnd := rand.New(rand.NewPCG(uint64(i), 1))
			all.Go(func() { // ends when the broker closes the connection
				defer conn.Close()
				if err := vandal(rnd, conn, i); err != nil {
					t.Error(err)
				}
			})
			if i%20 == 0 {
				start := time.Now()
				pub.say("honest/a", strconv.Itoa(i))
				sub.hears(strconv.Itoa(i))
				if d := time.Since(start); d > 2*time.Second {
					t.Errorf("an honest message took %v", d)
				}
			}
		}
		all.Wait()
		eventually(t, func() bool {
			return s.total(t, "connections_refused_total")+s.total(t, "connections_closed_total") >= vandals
		}, func() any { return s.total(t, "connections_refused_total") + s.total(t, "connections_closed_total") })
		if n := s.total(t, "connections_refused_total") + s.total(t, "connections_closed_total"); n != vandals {
			t.Errorf("%v connections were counted by their reason, want %d", n, vandals)
		}
		for _, name := range []string{
			`refused_total{reason="malformed_packet"}`, `closed_total{reason="malformed_packet"}`, `closed_total{reason="keep_alive_timeout"}`,
		} {
			if s.figure(t, "connections_"+name) == 0 {
				t.Errorf("none was counted as %s", name)
			}
		}
		if n := s.figure(t, "clients_connected"); n != 2 {
			t.Errorf("%v clients are connected, want 2", n)
		}
		eventually(t, func() bool { return runtime.NumGoroutine() <= goroutines+5 }, func() any { return runtime.NumGoroutine() })
		if grown := liveHeap() - heap; grown > 8<<20 {
			t.Errorf("the heap has grown by %d bytes", grown)
		}
		sub.quiet()
		pub.quiet()
	})
}

// liveHeap is what is in use after a collection.
func liveHeap() int64 {
	runtime.GC()
	runtime.GC() // what is in pools outlives one
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestAFloodThatReadsNothingIsPaused(t *testing.T) {
	subscribe := func(i int) []byte {
		return packet.AppendSubscribe(nil, &packet.Subscribe{
			ID: uint16(i%1000 + 1), Filters: []packet.Subscription{{Filter: fmt.Sprint("flood/", i%50)}, {Filter: "many/#"}},
		}, packet.V5)
	}
	floods := map[string]func(i int) []byte{
		"PINGREQ":   func(int) []byte { return packet.AppendPingreq(nil) },
		"SUBSCRIBE": subscribe,
		"PUBLISH to itself": func(i int) []byte {
			if i == 0 {
				return packet.AppendSubscribe(nil, &packet.Subscribe{ID: 1, Filters: []packet.Subscription{{Filter: "x"}}}, packet.V5)
			}
			return packet.AppendPublish(nil, &packet.Publish{Topic: []byte("x"), Payload: make([]byte, 1000), QoS: 1, ID: uint16(i%90 + 1)}, packet.V5)
		},
		"SUBSCRIBE and UNSUBSCRIBE": func(i int) []byte {
			return packet.AppendUnsubscribe(subscribe(i), &packet.Unsubscribe{ID: 7, Filters: []string{"many/#"}}, packet.V5)
		},
	}
	everywhere(t, func(t *testing.T, transport string) {
		for name, next := range floods {
			t.Run(name, func(t *testing.T) {
				s := serve(t, transport, fantail.Config{Limits: fantail.Limits{PendingBytes: 64 << 10}}, nil)
				s.fill(t, 100, "v")
				sub, pub := s.device(t, "sub", nil).to("honest", 1), s.device(t, "pub", nil)
				heap := liveHeap()
				flood := s.device(t, "flood", nil)
				sent := 0
				var err error
				for i := 0; err == nil && sent < 256<<20; {
					var b []byte
					for len(b) < 64<<10 {
						b = append(b, next(i)...)
						i++
					}
					_ = flood.conn.SetWriteDeadline(time.Now().Add(700 * time.Millisecond))
					var n int
					n, err = flood.conn.Write(b)
					sent += n
				}
				if !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("after %d bytes: %v, want that the broker stops reading", sent, err)
				}
				pub.say("honest", "x")
				sub.hears("x")
				if grown := liveHeap() - heap; grown > 24<<20 {
					t.Errorf("the heap has grown by %d bytes", grown)
				}
			})
		}
	})
}

func TestASubscriberThatReadsNothing(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{Limits: fantail.Limits{PendingBytes: 64 << 10, QueueMessages: 10}}, nil)
		slow := s.device(t, "slow", nil).to("a/#", 2)
		good, pub := s.device(t, "good", nil).to("a/#", 2), s.device(t, "pub", nil)
		heap := liveHeap()
		payload := make([]byte, 16<<10)
		const messages = 1500
		for range messages {
			pub.publish(packet.Publish{Topic: []byte("a/0"), Payload: payload})
			if p := good.message(); len(p.Payload) != len(payload) {
				t.Fatalf("%d bytes came", len(p.Payload))
			}
		}
		s.reaches(t, `messages_dropped_total{reason="slow_client"}`, 1)
		for range 60 {
			pub.publish(packet.Publish{Topic: []byte("a/1"), Payload: payload, QoS: 1})
			good.take()
		}
		s.reaches(t, `messages_dropped_total{reason="queue_full"}`, 1)
		if grown := liveHeap() - heap; grown > 16<<20 {
			t.Errorf("the heap has grown by %d bytes", grown)
		}
		came := 0.0
		slow.send(packet.AppendPingreq(nil)) // now it reads
		for f := slow.next(); f.Type != packet.PINGRESP; f = slow.next() {
			if p := slow.parse(f); p.QoS == 0 {
				came++
			} else {
				slow.answer(packet.PUBACK, p.ID)
			}
		}
		if dropped := s.figure(t, `messages_dropped_total{reason="slow_client"}`); came+dropped != messages {
			t.Errorf("%v came and %v were dropped, of %d", came, dropped, messages)
		}
	})
}
