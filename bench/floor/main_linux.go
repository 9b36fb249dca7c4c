// Command floor is the least that a relay of MQTT messages can do, to show what
// of a broker's cost is the kernel's: one thread waits for all sockets at once,
// reads what has come, finds the targets of each PUBLISH by its topic, copies
// its bytes behind what else waits for them, and at the end of the tick writes
// once to each connection that it has touched.
//
// It is no broker. It looks at lengths and topics and believes the rest: no
// sessions, no retained messages, no QoS 2, no keep-alive. A subscriber gets
// the publisher's own bytes, its packet identifier among them, and their
// PUBACKs are for nobody. Filters with wildcards are compared one by one, once
// for each topic.
//
// Usage: floor PORT
package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/fantail-mqtt/fantail/packet"
	"github.com/fantail-mqtt/fantail/topic"
)

// conn is a connection.
type conn struct {
	fd      int
	rest    []byte // the first part of a packet
	out     []byte // waits for the end of the tick, or for room in the socket
	touched bool   // it is in relay.touched
	full    bool   // the socket has no room; the kernel will say when it has
	route   *route // of the last PUBLISH
	filters []string
}

// route is the way of all messages of one topic, until a subscription changes.
type route struct {
	topic   string
	targets []*conn
	version int
}

type subscription struct {
	filter string
	by     *conn
}

// relay has one goroutine, which owns everything.
type relay struct {
	epoll, listener int
	conns           []*conn            // by descriptor
	exact           map[string][]*conn // who subscribed to a topic
	wild            []subscription     // and to more than one
	version         int                // grows with each change of either
	routes          map[string]*route
	touched         []*conn
	in              []byte
}

func main() {
	debug.SetGCPercent(-1) // nothing is allocated once the buffers have their sizes
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: floor PORT")
	}
	port, err := strconv.ParseUint(args[0], 10, 16)
	if err != nil {
		return fmt.Errorf("usage: floor PORT: %w", err)
	}
	r := &relay{exact: map[string][]*conn{}, routes: map[string]*route{}, in: make([]byte, 64<<10)}
	if err := r.listen(int(port)); err != nil {
		return err
	}
	if err := undisturbed(); err != nil {
		return err
	}
	events := make([]unix.EpollEvent, 256)
	for {
		n, errno := wait(r.epoll, events)
		if errno != 0 && errno != unix.EINTR {
			return fmt.Errorf("wait: %w", errno)
		}
		for _, e := range events[:max(0, n)] {
			if err := r.handle(e); err != nil {
				return err
			}
		}
		if err := r.flush(); err != nil {
			return err
		}
	}
}

func (r *relay) handle(e unix.EpollEvent) error {
	if int(e.Fd) == r.listener {
		return r.accept()
	}
	c := r.conns[e.Fd]
	if c == nil { // an earlier event of this tick has ended it
		return nil
	}
	if e.Events&unix.EPOLLOUT != 0 {
		c.full = false
		r.touch(c)
		if err := r.watch(c.fd, unix.EPOLL_CTL_MOD, unix.EPOLLIN); err != nil {
			return err
		}
	}
	if e.Events&^unix.EPOLLOUT != 0 && !r.read(c) {
		return r.drop(c)
	}
	return nil
}

// read takes in what has come; false if the connection is over. If there is
// more than fits, the next wait returns at once.
func (r *relay) read(c *conn) bool {
	had := copy(r.in, c.rest)
	n, errno := receive(c.fd, r.in[had:])
	if errno == unix.EAGAIN || errno == unix.EINTR {
		return true
	}
	if n <= 0 {
		return false
	}
	b := r.in[:had+n]
	for {
		f, size, err := packet.Split(b, len(r.in))
		if err != nil {
			return false
		}
		if size == 0 {
			c.rest = append(c.rest[:0], b...)
			return true
		}
		if !r.take(c, f, b[:size]) {
			return false
		}
		b = b[size:]
	}
}

// take handles one packet, whose bytes are whole; false if the connection is over.
func (r *relay) take(c *conn, f packet.Frame, whole []byte) bool {
	switch f.Type {
	case packet.PUBLISH:
		return r.publish(c, f, whole)
	case packet.CONNECT:
		r.send(c, 0x20, 2, 0, 0)
	case packet.SUBSCRIBE:
		return r.subscribe(c, f.Body)
	case packet.UNSUBSCRIBE:
		return r.unsubscribe(c, f.Body)
	case packet.PINGREQ:
		r.send(c, 0xd0, 0)
	case packet.PUBACK:
	default: // DISCONNECT, and what it has no answer to
		return false
	}
	return true
}

func (r *relay) publish(c *conn, f packet.Frame, whole []byte) bool {
	qos := f.Flags >> 1 & 3
	if len(f.Body) < 2 || qos > 1 {
		return false
	}
	end := 2 + int(binary.BigEndian.Uint16(f.Body))
	if len(f.Body) < end+2*int(qos) {
		return false
	}
	name := f.Body[2:end]
	if c.route == nil || c.route.version != r.version || c.route.topic != string(name) {
		c.route = r.find(name)
	}
	for _, to := range c.route.targets {
		r.send(to, whole...)
	}
	if qos > 0 {
		r.send(c, 0x40, 2, f.Body[end], f.Body[end+1])
	}
	return true
}

func (r *relay) find(name []byte) *route {
	if known := r.routes[string(name)]; known != nil {
		return known
	}
	way := &route{topic: string(name), version: r.version}
	way.targets = slices.Clone(r.exact[way.topic])
	for _, s := range r.wild {
		if topic.Match(s.filter, way.topic) && !slices.Contains(way.targets, s.by) {
			way.targets = append(way.targets, s.by)
		}
	}
	r.routes[way.topic] = way
	return way
}

// subscribe grants what is asked for, up to QoS 1.
func (r *relay) subscribe(c *conn, body []byte) bool {
	s, err := packet.ParseSubscribe(body, packet.V311)
	if err != nil {
		return false
	}
	answer := packet.Suback{ID: s.ID}
	for _, asked := range s.Filters {
		r.add(subscription{asked.Filter, c})
		answer.Codes = append(answer.Codes, packet.Code(min(asked.QoS, 1)))
	}
	r.send(c, packet.AppendSuback(nil, packet.SUBACK, &answer, packet.V311, 0)...)
	return true
}

func (r *relay) unsubscribe(c *conn, body []byte) bool {
	u, err := packet.ParseUnsubscribe(body, packet.V311)
	if err != nil {
		return false
	}
	for _, filter := range u.Filters {
		r.remove(subscription{filter, c})
	}
	r.send(c, packet.AppendSuback(nil, packet.UNSUBACK, &packet.Suback{ID: u.ID}, packet.V311, 0)...)
	return true
}

func (r *relay) add(s subscription) {
	r.remove(s) // it may be there
	if topic.Wildcard(s.filter) {
		r.wild = append(r.wild, s)
	} else {
		r.exact[s.filter] = append(r.exact[s.filter], s.by)
	}
	s.by.filters = append(s.by.filters, s.filter)
}

// remove takes a subscription away, and makes all routes be looked for again.
func (r *relay) remove(s subscription) {
	r.wild = slices.DeleteFunc(r.wild, func(x subscription) bool { return x == s })
	r.exact[s.filter] = slices.DeleteFunc(r.exact[s.filter], func(c *conn) bool { return c == s.by })
	r.version++
	clear(r.routes)
}
