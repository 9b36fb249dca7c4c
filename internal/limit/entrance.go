package limit

import (
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/fantail-mqtt/fantail/packet"
)

// Reasons of a [Refusal]: names of counters.
const (
	ReasonConnectRate         = "connect_rate"
	ReasonAddressConnections  = "address_connections"
	ReasonListenerConnections = "listener_connections"
	ReasonUnauthenticated     = "unauthenticated"
)

// Refusal is why a connection may not come in.
type Refusal struct {
	Reason string
	Code   packet.Code // that the client hears, if it speaks MQTT
	Why    string      // for the owner
	Do     string      // what the owner can do about it, if that is not in Why
	// Silent says that the connection is closed at once: it costs nothing more,
	// and the client hears nothing.
	Silent bool
}

// Bounds of an entrance. 0 is no bound.
type Bounds struct {
	Connects           Rate // of all
	AddressConnects    Rate
	AddressConnections int
	// Strangers bounds the connections that have not said who they are, and
	// AddressStrangers those of one address. A further one takes the place of the
	// oldest.
	Strangers, AddressStrangers int
	// Listeners are those that have bounds of their own.
	Listeners map[string]ListenerBounds
}

// ListenerBounds are those of one listener.
type ListenerBounds struct {
	Connects    Rate
	Connections int
}

// Holder has a connection that has not said who it is.
type Holder interface {
	// Evict ends the connection, for it is the oldest of too many. It is called on
	// any goroutine and must not wait.
	Evict(why Refusal)
}

// Patience is how long a connection that comes too fast is left waiting at most.
// What would have to wait longer is refused.
const Patience = time.Second

// remembered is how many addresses are remembered that have no connection, in
// each of two generations.
const remembered = 1 << 15

// Entrance counts connections.
type Entrance struct {
	mu        sync.Mutex // guards the rest, and all passes
	bounds    Bounds
	connects  Bucket
	addresses table[netip.Addr]
	listeners map[string]*entry
	strangers int
	waiting   queue
}

// NewEntrance makes one.
func NewEntrance(b Bounds) *Entrance {
	return &Entrance{bounds: b, addresses: newTable[netip.Addr](remembered), listeners: map[string]*entry{}}
}

// SetBounds replaces the bounds, for connections to come.
func (e *Entrance) SetBounds(b Bounds) {
	e.mu.Lock()
	e.bounds = b
	e.mu.Unlock()
}

// Pass is a connection as the entrance counts it. Leave ends that.
type Pass struct {
	entrance *Entrance
	holder   Holder
	places   [queues]place
	listener *entry
	address  *entry // nil: it is not known
	key      netip.Addr
	stranger bool
	left     bool
	refused  bool // it does not count as a connection any more
	counted  bool // its address or listener has bounds that count it to its end
}

// Key is what an address is counted under: a network of IPv6 that is one
// customer's (/64), for whoever has one has all of its addresses.
func Key(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		p, _ := a.Prefix(64) // cannot fail
		return p.Addr()
	}
	return a
}

// Enter counts a connection that was accepted. Its address may be the zero one if
// it is not known (yet: see Come). It has to wait, or is refused; in either case
// Leave is called at its end.
func (e *Entrance) Enter(h Holder, listener string, a netip.Addr, now time.Duration) (p *Pass, wait time.Duration, no *Refusal) {
	p = &Pass{entrance: e, holder: h, stranger: true}
	e.mu.Lock()
	p.listener = e.listeners[listener]
	if p.listener == nil {
		p.listener = &entry{}
		e.listeners[listener] = p.listener
	}
	p.listener.connections++
	e.strangers++
	e.waiting.push(p, ofAll)
	var outs evictions
	if most := e.bounds.Strangers; most > 0 && e.strangers > most {
		outs.add(e, e.waiting.first, fmt.Sprintf(
			"%d connections have not sent CONNECT or are not let in yet (limits.unauthenticated): the oldest makes room for a new one", most))
	}
	bounds := e.bounds.Listeners[listener]
	p.counted = bounds.Connections > 0
	switch {
	case p.counted && p.listener.connections > bounds.Connections:
		no = bounds.full()
	case a.IsValid():
		wait, no = e.address(p, a, now, &outs)
	}
	if no == nil {
		wait, no = e.pace(p.listener, &e.connects, bounds.Connects, wait, now)
	}
	if no != nil {
		p.refuse()
	}
	e.mu.Unlock()
	outs.run()
	return p, wait, no
}

// Would is what Enter would refuse a connection for, or nil. It counts nothing.
// The listener may be empty and the address the zero one if they are not known.
func (e *Entrance) Would(listener string, a netip.Addr, now time.Duration) (no *Refusal) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var at entry // copies: what is taken out of them is taken from nobody
	if l := e.listeners[listener]; l != nil {
		at = *l
	}
	all, bounds, wait := e.connects, e.bounds.Listeners[listener], time.Duration(0)
	switch {
	case bounds.Connections > 0 && at.connections >= bounds.Connections:
		return bounds.full()
	case a.IsValid():
		from := e.addresses.look(Key(a))
		from.connections++
		wait, no = e.bounds.address(&from, now)
	}
	if no == nil {
		_, no = e.pace(&at, &all, bounds.Connects, wait, now)
	}
	return no
}

// full is the refusal by a listener that has all its connections.
func (b *ListenerBounds) full() *Refusal {
	return &Refusal{Reason: ReasonListenerConnections, Code: packet.QuotaExceeded, Why: fmt.Sprintf(
		"the listener has its max_connections of %d already", b.Connections)}
}

// evictions are connections to be ended once the lock is free: they leave by it.
type evictions []eviction

type eviction struct {
	holder Holder
	why    Refusal
}

// add takes a connection out of those that count as strangers. The caller holds
// e.mu.
func (o *evictions) add(e *Entrance, p *Pass, why string) {
	e.forget(p)
	if p.holder != nil {
		*o = append(*o, eviction{p.holder, Refusal{Reason: ReasonUnauthenticated, Code: packet.ServerBusy, Why: why}})
	}
}

func (o evictions) run() {
	for _, x := range o {
		x.holder.Evict(x.why)
	}
}

// Come says where a connection comes from whose address was not known when it was
// accepted.
func (p *Pass) Come(a netip.Addr, now time.Duration) (wait time.Duration, no *Refusal) {
	e := p.entrance
	var outs evictions
	e.mu.Lock()
	if !p.left && p.address == nil && a.IsValid() {
		wait, no = e.address(p, a, now, &outs)
	}
	if no != nil {
		p.refuse()
	}
	e.mu.Unlock()
	outs.run()
	return wait, no
}

// address counts a connection under its address. The caller holds e.mu.
func (e *Entrance) address(p *Pass, a netip.Addr, now time.Duration, outs *evictions) (wait time.Duration, no *Refusal) {
	b := &e.bounds
	if b.AddressConnects == 0 && b.AddressConnections == 0 && b.AddressStrangers == 0 {
		return 0, nil
	}
	p.key = Key(a)
	p.address = e.addresses.enter(p.key)
	at := p.address
	if !p.refused {
		at.connections++
	}
	p.counted = p.counted || b.AddressConnections > 0
	if p.stranger {
		at.strangers++
		at.waiting.push(p, ofAddress)
	}
	if b.AddressStrangers > 0 && at.strangers > b.AddressStrangers {
		outs.add(e, at.waiting.first, fmt.Sprintf(
			"%d connections of the address have not sent CONNECT or are not let in yet (limits.unauthenticated.per_address): the oldest makes room for a new one", b.AddressStrangers))
	}
	return b.address(at, now)
}

// address decides about a connection that was counted under its address.
func (b *Bounds) address(at *entry, now time.Duration) (wait time.Duration, no *Refusal) {
	if b.AddressConnections > 0 && at.connections > b.AddressConnections {
		return 0, &Refusal{Reason: ReasonAddressConnections, Code: packet.QuotaExceeded, Why: fmt.Sprintf(
			"the address has its limits.per_address.connections of %d already", b.AddressConnections)}
	}
	if wait = at.connects.Take(b.AddressConnects, 1, now); wait > Patience {
		at.connects.Give(b.AddressConnects, 1)
		return 0, tooFast("the address", "limits.per_address.connect_rate", b.AddressConnects)
	}
	return wait, nil
}

// pace takes a connection from the rates of its listener and of all. The caller
// holds e.mu.
func (e *Entrance) pace(at *entry, all *Bucket, r Rate, so time.Duration, now time.Duration) (wait time.Duration, no *Refusal) {
	if wait = at.connects.Take(r, 1, now); wait > Patience {
		at.connects.Give(r, 1)
		return 0, tooFast("the listener", "connect_rate", r)
	}
	long := all.Take(e.bounds.Connects, 1, now)
	if long > Patience {
		all.Give(e.bounds.Connects, 1)
		at.connects.Give(r, 1)
		return 0, tooFast("the broker", "limits.connect_rate", e.bounds.Connects)
	}
	return max(so, wait, long), nil
}

func tooFast(who, key string, r Rate) *Refusal {
	return &Refusal{Reason: ReasonConnectRate, Code: packet.ConnectionRateExceeded, Why: fmt.Sprintf(
		"connections come to %s faster than its %s of %d a second", who, key, r)}
}

// forget takes a connection out of those that have not said who they are. The
// caller holds e.mu.
func (e *Entrance) forget(p *Pass) {
	if p == nil || !p.stranger {
		return
	}
	p.stranger = false
	e.strangers--
	e.waiting.remove(p, ofAll)
	if p.address != nil {
		p.address.strangers--
		p.address.waiting.remove(p, ofAddress)
	}
}

// Hold says who has the connection from now on.
func (p *Pass) Hold(h Holder) {
	if p == nil {
		return
	}
	p.entrance.mu.Lock()
	p.holder = h
	p.entrance.mu.Unlock()
}

// Known says that the connection is a client's. It returns whether that is
// counted to its end: if not, the pass has done its part.
func (p *Pass) Known(now time.Duration) (counted bool) {
	if p == nil {
		return false
	}
	e := p.entrance
	e.mu.Lock()
	e.forget(p)
	p.holder = nil
	counted = p.counted
	e.mu.Unlock()
	if !counted {
		p.Leave(now)
	}
	return counted
}

// Leave is the end of the connection. A second one is none.
func (p *Pass) Leave(now time.Duration) {
	if p == nil {
		return
	}
	e := p.entrance
	e.mu.Lock()
	defer e.mu.Unlock()
	if p.left {
		return
	}
	p.refuse()
	p.left = true
	e.forget(p)
	if p.address != nil {
		e.addresses.leave(p.key, p.address, now)
	}
	p.holder = nil
}

// refuse takes a connection that is let in no further, or has ended, out of those
// of its listener and its address: while it is told so it keeps nobody out. The
// caller holds e.mu.
func (p *Pass) refuse() {
	if p.refused {
		return
	}
	p.refused = true
	p.listener.connections--
	if p.address != nil {
		p.address.connections--
	}
}

// Strangers is how many connections have not said who they are.
func (e *Entrance) Strangers() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.strangers
}
