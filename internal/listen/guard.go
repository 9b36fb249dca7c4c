package listen

import (
	"net"
	"net/netip"
	"time"

	"github.com/fantail-mqtt/fantail/internal/limit"
	"github.com/fantail-mqtt/fantail/internal/loop"
)

// lastWords is how long a connection that is refused may take to say the CONNECT
// that is answered so.
const lastWords = 2 * time.Second

// enter asks the guard about the connection. It does not know the address yet if
// a PROXY header is to tell it.
func (g *greeter) enter() {
	guard := g.listener.options.Guard
	if guard == nil {
		return
	}
	var from netip.Addr
	if !g.awaitsProxy {
		from = addrOf(g.raw.RemoteAddr())
	}
	descriptor := -1
	if d, ok := g.raw.(loop.Descripted); ok {
		descriptor = d.Descriptor()
	}
	pass, wait, no := guard.Enter(g, g.listener.url, from, descriptor)
	g.peer.Pass = pass
	g.heed(wait, no)
}

// come asks the guard once a PROXY header has told the address.
func (g *greeter) come() {
	if guard := g.listener.options.Guard; guard != nil && !g.refused() {
		g.heed(guard.Come(g.peer.Pass, addrOf(g.peer.Addr)))
	}
}

// heed does what the guard says.
func (g *greeter) heed(wait time.Duration, no *limit.Refusal) {
	switch {
	case no != nil && no.Silent:
		if fault := g.report(no.Reason, no.Why); fault != nil {
			g.raw.Close(fault)
		}
	case no != nil:
		g.peer.Refused = no
		g.peer.Due = min(g.peer.Due, time.Now().Add(lastWords).UnixMilli())
		g.due.Store(g.peer.Due)
		g.listener.options.Wheel.Set(g, g.peer.Due)
	case wait > 0:
		until := time.Now().Add(wait).UnixMilli()
		g.waits.Store(until)
		g.raw.Pause()
		g.listener.options.Wheel.Set(g, min(until, g.peer.Due))
	}
}

// goOn reads what came while the connection had to wait.
func (g *greeter) goOn(l loop.Local) {
	if !g.settled.Load() {
		g.raw.Resume(l)
	}
}

// refused says whether the client may only hear that it is refused.
func (g *greeter) refused() bool { return g.peer.Refused != nil }

// Evict implements limit.Holder.
func (g *greeter) Evict(why limit.Refusal) {
	g.raw.Post(func(loop.Local) {
		if fault := g.report(why.Reason, why.Why); fault != nil {
			g.raw.Close(fault)
		}
	})
}

// addrOf is the IP address in a, invalid if it has none.
func addrOf(a net.Addr) netip.Addr {
	if p, ok := a.(interface{ AddrPort() netip.AddrPort }); ok {
		return p.AddrPort().Addr()
	}
	if a == nil {
		return netip.Addr{}
	}
	p, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Addr{}
	}
	return p.Addr()
}
