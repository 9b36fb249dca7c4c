package fantail_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fantail-mqtt/fantail"
	"github.com/fantail-mqtt/fantail/internal/load"
	"github.com/fantail-mqtt/fantail/packet"
)

// What each publisher of a crowd has on its way, at most.
const (
	size   = 4 << 10
	window = 2 * size
)

// sleeper is a subscriber that reads nothing until it is woken.
type sleeper struct {
	conn *net.TCPConn
	rest []byte // came behind the answer to the last ping
}

// sleeper connects one that subscribes to a topic.
func (s *server) sleeper(t *testing.T, id, topic string, qos byte) *sleeper {
	t.Helper()
	d := net.Dialer{Timeout: patience, Control: fewBytes}
	conn, err := d.Dial("tcp", s.mqtt[0])
	if err != nil {
		t.Fatal(err)
	}
	x := &sleeper{conn: conn.(*net.TCPConn)}
	t.Cleanup(func() { _ = conn.Close() })
	b := packet.AppendConnect(nil, &packet.Connect{Version: packet.V311, CleanStart: true, ClientID: id})
	b = packet.AppendSubscribe(b, &packet.Subscribe{ID: 1, Filters: []packet.Subscription{{Filter: topic, QoS: qos}}}, packet.V311)
	if _, err := conn.Write(b); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 4+5)); err != nil { // CONNACK and SUBACK
		t.Fatal(err)
	}
	return x
}

// fewBytes makes the kernel keep little on both sides of a connection, so that it is
// the broker which has to hold something: over a megabyte otherwise.
func fewBytes(_, _ string, raw syscall.RawConn) error {
	var err error
	return errors.Join(raw.Control(func(fd uintptr) {
		err = errors.Join(unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG, 536), unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4096))
	}), err)
}

// wake reads what is there for a client, up to the answer to a ping, and says how
// many messages that were. It acknowledges none.
func (x *sleeper) wake() (messages int, err error) {
	_ = x.conn.SetReadBuffer(1 << 20)
	_ = x.conn.SetDeadline(time.Now().Add(patience))
	if _, err := x.conn.Write(packet.AppendPingreq(nil)); err != nil {
		return 0, err
	}
	chunk := make([]byte, 64<<10)
	for {
		n, err := x.conn.Read(chunk)
		x.rest = append(x.rest, chunk[:n]...)
		for {
			f, size, err := packet.Split(x.rest, packet.MaxLength)
			if err != nil {
				return messages, err
			}
			if size == 0 {
				break
			}
			x.rest = x.rest[size:]
			switch f.Type {
			case packet.PUBLISH:
				messages++
			case packet.PINGRESP:
				return messages, nil
			default:
				return messages, fmt.Errorf("a %v came", f.Type)
			}
		}
		if err != nil {
			return messages, err
		}
	}
}

// wakeAll wakes all of them at once, and adds up what they get.
func wakeAll(t *testing.T, asleep []*sleeper) (messages uint64) {
	t.Helper()
	var all sync.WaitGroup
	var sum atomic.Uint64
	for i, x := range asleep {
		all.Go(func() { // ends with the answer, or after a while without one
			n, err := x.wake()
			if err != nil {
				t.Errorf("sleeper %d: %v", i, err)
			}
			sum.Add(uint64(n))
		})
	}
	all.Wait()
	return sum.Load()
}

// settle wakes all of them until nothing more comes. It says how many messages
// came, and how many wait then: what waits is sent as soon as what is before it was
// read, so that before the end it is the one or the other, and which depends on who
// is faster.
func (s *server) settle(t *testing.T, asleep []*sleeper) (messages, waiting uint64) {
	t.Helper()
	for {
		waiting = uint64(s.figure(t, "queue_messages"))
		n := wakeAll(t, asleep)
		messages += n
		if n == 0 && waiting == uint64(s.figure(t, "queue_messages")) {
			return messages, waiting
		}
	}
}

// A crowd of subscribers stops reading while another goes on at full speed. The
// others lose nothing; what is held for those that read nothing stays within its
// bounds and takes no more memory than that; each of their messages is sent, waits
// or is counted as dropped; and when they go, so does what was held.
func TestACrowdThatReadsNothing(t *testing.T) {
	const bound = 64 << 20
	limits := [2]fantail.Limits{{AllPendingBytes: bound}, {AllPendingBytes: bound / 2, QueuesMemory: bound / 2}}
	reason := [2]string{`messages_dropped_total{reason="slow_client"}`, `messages_dropped_total{reason="queue_full"}`}
	everywhere(t, func(t *testing.T, transport string) {
		for qos := range byte(2) {
			t.Run("QoS "+strconv.Itoa(int(qos)), func(t *testing.T) {
				s := serve(t, transport, fantail.Config{Limits: limits[qos]}, nil)
				var asleep []*sleeper
				for i := range crowd {
					asleep = append(asleep, s.sleeper(t, fmt.Sprint("asleep", i), fmt.Sprint("slow/", i), qos))
				}
				before := liveHeap()

				sent := s.rush(t, qos, reason[qos])
				pending, queues := s.figure(t, "pending_bytes"), s.figure(t, "queue_memory_bytes")
				if n := [2]float64{pending, 2 * queues}[qos]; n < bound/2 || pending+queues > bound+crowd*window { // who still takes all may get that in a tick
					t.Errorf("%v bytes are pending and %v in queues, want most of %d, or of half of it in queues, and hardly more in all", pending, queues, bound)
				}
				var held int64
				most := int64(bound + crowd*(window+16<<10) + 16<<20) // what connections and ticks need, too
				eventually(t, func() bool {                           // the loops give back what they keep while there is work
					held = liveHeap() - before
					return held <= most
				}, func() any { return fmt.Sprintf("%d bytes more of memory are in use, want %d at most", held, most) })
				t.Logf("%d messages for those who read nothing, %v dropped, %d bytes of memory for them", sent, s.figure(t, reason[qos]), held)

				got, queued := s.settle(t, asleep)
				dropped := s.figure(t, reason[qos])
				if all := s.total(t, "messages_dropped_total"); all != dropped || got+queued+uint64(dropped) != sent {
					t.Errorf("%d arrived, %v wait, %v were dropped (%v for any reason); %d were sent", got, queued, dropped, all, sent)
				}
				for _, x := range asleep {
					_ = x.conn.Close()
				}
				eventually(t, func() bool {
					return s.figure(t, "clients_connected") == 0 && s.figure(t, "pending_bytes") == 0 && s.figure(t, "queue_memory_bytes") == 0
				}, func() any {
					return []any{s.figure(t, "clients_connected"), s.figure(t, "pending_bytes"), s.figure(t, "queue_memory_bytes")}
				})
			})
		}
	})
}

// rush publishes to the topics slow/… at full speed, each with a subscriber that
// reads, until many messages have been dropped under a reason. It returns how many
// there were.
func (s *server) rush(t *testing.T, qos byte, reason string) (sent uint64) {
	t.Helper()
	ctx, enough := context.WithCancel(t.Context())
	defer enough()
	to := load.Target{Addr: netip.MustParseAddrPort(s.mqtt[0])}
	to.Watch = func(load.Snapshot) { // called on this goroutine
		if s.figure(t, reason) >= 20*crowd {
			enough()
		}
	}
	r, err := load.Run(ctx, to, load.Scenario{
		Shape: load.Pairs, Publishers: crowd, Subscribers: crowd, QoS: qos, Window: window / size, Sizes: []int{size}, Topics: "slow/%i",
	}, load.Timing{Measure: 3 * patience, Drain: patience / 4})
	if err != nil {
		t.Fatal(err)
	}
	if r.Faults.Any() || r.All.Received != r.All.Sent {
		t.Errorf("of %d messages those who read got %d; faults: %v", r.All.Sent, r.All.Received, r.Faults)
	}
	if !r.Interrupted {
		t.Errorf("only %v were dropped as %s", s.figure(t, reason), reason)
	}
	return r.All.Sent
}
