package conn

import (
	"log/slog"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/internal/broker"
	"github.com/fantail-mqtt/fantail/internal/loop"
	"github.com/fantail-mqtt/fantail/internal/session"
	"github.com/fantail-mqtt/fantail/internal/wheel"
	"github.com/fantail-mqtt/fantail/packet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a server with all that it stands on.
type world struct {
	broker *broker.Broker
	server *Server
	group  *loop.Portable
	wheel  *wheel.Wheel
}

// newWorld makes a server; setup may be nil. close ends it.
func newWorld(setup func(*Options)) *world { return worldOn(broker.Memory{}, setup) }

// worldOn makes a server over a log.
func worldOn(log broker.Log, setup func(*Options)) *world {
	w := &world{wheel: wheel.New()}
	w.broker = broker.New(broker.Options{
		Node: "n", Log: log, Logger: slog.New(slog.DiscardHandler), Wheel: w.wheel,
		Limits: broker.Limits{
			Limits: session.Limits{
				ReceiveMaximum: 10, TopicAliasMaximum: 10, InFlight: 10, QueueMessages: 100, QueueBytes: 1 << 20, PendingBytes: 64 << 10,
			},
			TopicLevels: 10, Subscriptions: 100, WildcardSubscriptions: 10, MatchNodes: 1000, RetainedMessages: 100, RetainedBytes: 1 << 20,
			QueuedBytes: 1 << 20,
		},
	})
	o := Options{
		Broker: w.broker, Wheel: w.wheel, Logger: slog.New(slog.DiscardHandler), ReceiveMaximum: 10, TopicAliasMaximum: 10,
		PendingBytes: 64 << 10, Limits: Limits{Packet: 64 << 10, ConnectTimeout: 10 * time.Second},
		Quick: func(*Request) (bool, *access.Grant, error) { return true, nil, nil },
	}
	if setup != nil {
		setup(&o)
	}
	w.server = NewServer(o)
	w.group = loop.NewPortable(loop.Options{Local: func() loop.Local { return w.broker.NewTick() }})
	return w
}

func (w *world) close() {
	w.group.Close()
	w.server.Close()
	w.broker.Close()
	w.wheel.Close()
}

// dial connects through a pipe.
func (w *world) dial(t *testing.T) *peer {
	ours, theirs := net.Pipe()
	w.group.Adopt(theirs, func(_ loop.Local, c loop.Conn) loop.Handler {
		return w.server.Accept(c, Peer{Addr: theirs.RemoteAddr(), Transport: "tcp", Listener: "test"})
	})
	p := &peer{t: t, conn: ours, packets: make(chan got, 1000)}
	go p.read() // ends with the connection
	return p
}

// peer is the client's end of a pipe.
type peer struct {
	t       *testing.T
	conn    net.Conn
	packets chan got // closed at the end of the stream
}

// got is a packet and when it came.
type got struct {
	packet.Frame
	at time.Time
}

func (p *peer) read() {
	defer close(p.packets)
	var in []byte
	b := make([]byte, 4096)
	for {
		n, err := p.conn.Read(b)
		in = append(in, b[:n]...)
		for {
			f, size, _ := packet.Split(in, packet.MaxLength)
			if size == 0 {
				break
			}
			in = in[size:len(in):len(in)]
			p.packets <- got{f, time.Now()}
		}
		if err != nil {
			return
		}
	}
}

// expect waits for the next packet.
func (p *peer) expect(typ packet.Type) got {
	p.t.Helper()
	g, ok := <-p.packets
	if !ok || g.Type != typ {
		p.t.Fatalf("%v came (end of the stream: %v), want %v", g.Type, !ok, typ)
	}
	return g
}

// ended waits for the end of the stream and says when that was.
func (p *peer) ended() time.Time {
	p.t.Helper()
	if g, ok := <-p.packets; ok {
		p.t.Fatalf("%v came, want the end of the stream", g.Type)
	}
	return time.Now()
}

func (p *peer) send(b []byte) {
	p.t.Helper()
	if _, err := p.conn.Write(b); err != nil {
		p.t.Fatalf("send: %v", err)
	}
}

// connect sends a CONNECT of 5.0 and takes its CONNACK in; change may be nil.
func (p *peer) connect(id string, change func(*packet.Connect)) packet.Connack {
	p.t.Helper()
	c := packet.Connect{Version: packet.V5, ClientID: id}
	if change != nil {
		change(&c)
	}
	p.send(packet.AppendConnect(nil, &c))
	a, err := packet.ParseConnack(p.expect(packet.CONNACK).Body, c.Version)
	if err != nil {
		p.t.Fatal(err)
	}
	return a
}
