package listen

import (
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/fantail-mqtt/fantail/internal/loop"
	"github.com/fantail-mqtt/fantail/internal/wheel"
)

// greeter is the handler of a connection until it speaks MQTT: first over the
// raw connection, then, with TLS, over the layer.
type greeter struct {
	listener *Listener
	deadline wheel.Entry
	raw      loop.Conn
	settled  atomic.Bool  // Upper or Refused was called
	waits    atomic.Int64 // until when it is not read, unix milliseconds; 0: it is
	due      atomic.Int64 // the deadline, unix milliseconds

	// owned by the loop
	conn        loop.Conn // what it greets on
	peer        Peer
	awaitsProxy bool
	upgraded    bool // to WebSocket
}

func (g *greeter) start() {
	g.peer.Due = time.Now().Add(g.listener.options.FirstPacket).UnixMilli()
	g.due.Store(g.peer.Due)
	g.listener.options.Wheel.Set(g, g.peer.Due)
}

// settle is true for the one caller who ends the greeting.
func (g *greeter) settle() bool {
	if !g.settled.CompareAndSwap(false, true) {
		return false
	}
	g.listener.options.Wheel.Stop(g)
	return true
}

// refuse ends a connection with an answer, possibly empty.
func (g *greeter) refuse(answer []byte, reason, detail string) {
	if fault := g.report(reason, detail); fault != nil {
		g.conn.Finish(answer, fault)
	}
}

// report tells of a refusal; nil if the greeting had ended before.
func (g *greeter) report(reason, detail string) *Fault {
	if !g.settle() {
		return nil
	}
	if g.peer.Pass != nil {
		g.listener.options.Guard.Leave(g.peer.Pass)
	}
	g.listener.options.Refused(Refusal{Addr: g.peer.Addr, Listener: g.listener.url, Reason: reason, Detail: detail})
	return &Fault{Reason: reason, Detail: detail}
}

// Timer implements wheel.Owner.
func (g *greeter) Timer() *wheel.Entry { return &g.deadline }

// Due is the deadline.
func (g *greeter) Due(int64) int64 {
	if g.waits.Swap(0) > 0 {
		g.raw.Post(g.goOn)
		return g.due.Load()
	}
	g.raw.Post(func(loop.Local) {
		if fault := g.report(ReasonConnectTimeout, g.overdue()); fault != nil {
			g.raw.Close(fault)
		}
	})
	return 0
}

func (g *greeter) overdue() string {
	after := g.listener.options.FirstPacket
	switch {
	case g.awaitsProxy:
		return fmt.Sprintf("no whole PROXY header came within %v: let the proxy send one, or take proxy_protocol from the listener", after)
	case g.conn != g.raw && !g.upgraded && g.peer.TLS == nil:
		return fmt.Sprintf("the TLS handshake was not done within %v: look at the client's TLS settings, or at the line to it", after)
	case g.upgraded:
		return fmt.Sprintf("no CONNECT packet came within %v of the connection, over WebSocket: let the client send it at once", after)
	}
	return fmt.Sprintf("no CONNECT packet came within %v: let the client send it at once", after)
}

// Data goes by the first bytes.
func (g *greeter) Data(l loop.Local, b []byte) int {
	if g.settled.Load() {
		return len(b)
	}
	if !g.awaitsProxy {
		return g.greet(l, b)
	}
	n := g.takeProxy(b)
	if g.awaitsProxy || g.settled.Load() || g.waits.Load() > 0 {
		return n
	}
	return n + g.greet(l, b[n:])
}

// greet recognises what speaks.
func (g *greeter) greet(l loop.Local, b []byte) int {
	switch recognise(b) {
	case undecided:
		return 0
	case mqttConnect:
		return g.takeMQTT(l, b)
	case tlsHello:
		if g.refused() {
			g.refuse(handshakeAlert(), g.peer.Refused.Reason, g.peer.Refused.Why)
			break
		}
		return g.takeTLS(b)
	case httpRequest:
		if g.refused() {
			g.refuseHTTP(http.StatusServiceUnavailable, g.peer.Refused.Reason, g.peer.Refused.Why)
			break
		}
		return g.takeHTTP(b)
	case proxyHeader:
		g.refuse(nil, ReasonProxyHeader, "a PROXY header came to a listener without proxy_protocol: set it there, or take send-proxy from the proxy")
	default:
		g.refuse(nil, ReasonNotMQTT, shown(b)+" came instead of a CONNECT packet: this listener speaks "+g.listener.speaks())
	}
	return len(b)
}

// takeProxy takes the client's address.
func (g *greeter) takeProxy(b []byte) int {
	n, client, err := parseProxy(b)
	if errors.Is(err, errIncomplete) {
		return 0
	}
	if err != nil {
		g.refuse(nil, ReasonProxyHeader, fmt.Sprintf("%v, which the listener's proxy_protocol asks for (%s came): let the proxy send one, or take proxy_protocol from the listener", err, shown(b)))
		return len(b)
	}
	g.awaitsProxy = false
	if client != nil {
		g.peer.Addr = client
	}
	g.come()
	return n
}

func (g *greeter) takeMQTT(l loop.Local, b []byte) int {
	if g.listener.secureOnly() && g.peer.TLS == nil {
		g.refuse(nil, ReasonPlainOnTLSPort, "plain MQTT came to a TLS listener: switch TLS on in the client, or let it use a tcp listener")
		return len(b)
	}
	if !g.settle() {
		return len(b)
	}
	if s, ok := g.conn.(*secure); ok {
		s.packets = true
	}
	g.conn.SetHandler(g.listener.options.Upper(l, g.conn, g.peer))
	return 0 // what is there is for the new handler
}

func (g *greeter) takeTLS(b []byte) int {
	switch {
	case g.peer.TLS != nil:
		g.refuse(nil, ReasonNotMQTT, "a TLS hello came inside TLS: let either the client or the proxy before it encrypt")
	case g.upgraded:
		g.refuse(nil, ReasonNotMQTT, "a TLS hello came inside WebSocket: use wss:// in place of ws://")
	case g.listener.certs == nil:
		g.refuse(handshakeAlert(), ReasonTLSOnPlainPort, "a TLS hello came to a listener without a certificate: switch TLS off in the client, or set cert and key on the listener")
	default:
		s := newSecure(g)
		g.conn = s
		g.raw.SetHandler(s)
		s.begin()
		return 0
	}
	return len(b)
}

// handshakeAlert is the TLS record that ends a handshake: the client then
// reports that instead of a lost connection.
func handshakeAlert() []byte {
	const alert, fatal, handshakeFailure = 21, 2, 40
	return []byte{alert, 3, 3, 0, 2, fatal, handshakeFailure}
}

// Writable has no news: a greeter's answers are its last words.
func (g *greeter) Writable(loop.Local) {}

// Closed is the end before a CONNECT packet.
func (g *greeter) Closed(_ loop.Local, err error) { g.left(err) }

// left tells of a client that left.
func (g *greeter) left(err error) {
	if errors.Is(err, loop.ErrGroupClosed) {
		g.settle()
		return
	}
	_ = g.report(ReasonClosedEarly, fmt.Sprintf("the client closed before its CONNECT packet (%v): a port check, or a client that gave up", err))
}
