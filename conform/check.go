package conform

import (
	"context"
	"fmt"
	"net"
	"slices"
	"time"
)

// Check is one test of a broker. Most belong to a statement by Version and
// ID; the others have a Name, for the mistakes that brokers are known to make
// and for MQTT 3.1, whose text numbers no statements.
type Check struct {
	Version string // 3.1, 3.1.1 or 5.0
	ID      string // MQTT-3.1.0-1, or empty
	Name    string // for those without an ID
	What    string // what is checked, in one short sentence
	Unseen  string // why it cannot be observed from outside; Run is nil then
	Run     func(*T)

	alone bool // subscribes to what others publish, so runs by itself
}

func v4(id, what string, run func(*T)) Check {
	return Check{Version: "3.1.1", ID: id, What: what, Run: run}
}

func v5(id, what string, run func(*T)) Check {
	return Check{Version: "5.0", ID: id, What: what, Run: run}
}

// unseen is for a statement that no connection to a broker can show.
func unseen(version, id, what, why string) Check {
	return Check{Version: version, ID: id, What: what, Unseen: why}
}

func named(version, name, what string, run func(*T)) Check {
	return Check{Version: version, Name: name, What: what, Run: run}
}

func byItself(c Check) Check {
	c.alone = true
	return c
}

// stop is what a failing check panics with; Runner recovers it.
type stop struct{}

// T is one run of one check.
type T struct {
	ctx    context.Context
	opts   Options
	level  byte
	prefix string // no other check has it

	conns    []*client
	kept     []string // client identifiers whose sessions outlive the check
	retained []string // topics that hold a retained message
	failures []string
	notes    []string
	unseen   string // set if this broker gives no occasion to observe it
	within   string // the case at hand
}

func levelOf(version string) byte {
	switch version {
	case "3.1":
		return 3
	case "3.1.1":
		return 4
	default:
		return 5
	}
}

// failf ends the check, or the case of it that runs.
func (t *T) failf(format string, args ...any) {
	t.errorf(format, args...)
	panic(stop{})
}

func (t *T) errorf(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if t.within != "" {
		text = t.within + ": " + text
	}
	t.failures = append(t.failures, text)
}

func (t *T) note(text string) {
	if !slices.Contains(t.notes, text) {
		t.notes = append(t.notes, text)
	}
}

// notObservable ends the check: this broker offers nothing to observe.
func (t *T) notObservable(why string) {
	t.unseen = why
	panic(stop{})
}

// try runs one case of a check; the others still run if it fails.
func (t *T) try(name string, run func()) {
	outer := t.within
	t.within = name
	defer func() {
		t.within = outer
		recovered := recover()
		if _, ours := recovered.(stop); recovered != nil && (!ours || t.unseen != "") {
			panic(recovered)
		}
	}()
	run()
}

// id is a client identifier that no other check uses: at most 23 letters and digits.
func (t *T) id(suffix string) string { return t.prefix + suffix }

// topic is a topic that no other check uses.
func (t *T) topic(suffix string) string { return "conform/" + t.prefix + "/" + suffix }

// dial opens a connection and sends nothing.
func (t *T) dial() *client {
	d := net.Dialer{Timeout: t.opts.Wait}
	conn, err := d.DialContext(t.ctx, "tcp", t.opts.Addr)
	if err != nil {
		t.failf("dial %s: %v", t.opts.Addr, err)
	}
	return t.adopt(conn)
}

func (t *T) adopt(conn net.Conn) *client {
	c := &client{t: t, conn: conn, level: t.level}
	t.conns = append(t.conns, c)
	return c
}

// hello is a plain CONNECT of the check's version with a clean session.
func (t *T) hello(suffix string) connect {
	c := connect{name: "MQTT", level: t.level, clean: true, id: t.id(suffix)}
	if t.level == 3 {
		c.name = "MQIsdp"
	}
	return c
}

// lasting is a CONNECT that goes on with a session and keeps it afterwards.
func (t *T) lasting(suffix string) connect {
	c := t.hello(suffix)
	c.clean = false
	t.kept = append(t.kept, c.id)
	if t.level == 5 {
		c.props = prop32(pSessionExpiry, 600)
	}
	return c
}

// offer dials and sends CONNECT, and expects nothing yet.
func (t *T) offer(p connect) *client {
	c := t.dial()
	c.id = p.id
	c.level = p.level
	c.send(p.bytes())
	return c
}

// open dials and connects; the broker must accept.
func (t *T) open(p connect) (*client, *packet) {
	c := t.offer(p)
	got := c.expect(kConnack)
	if got.code != 0 {
		c.fail("CONNACK with code 0", got, nil)
	}
	c.accepted = true
	return c, got
}

// connect opens a plain connection.
func (t *T) connect(suffix string) *client {
	c, _ := t.open(t.hello(suffix))
	return c
}

// resume opens a connection that goes on with a lasting session.
func (t *T) resume(suffix string) *client {
	c, _ := t.open(t.lasting(suffix))
	return c
}

// pass lets time go by, on a connection where nothing may happen meanwhile.
func (t *T) pass(d time.Duration) {
	t.connect("clock" + fmt.Sprint(len(t.conns))).quietFor(d)
}

// elapsed fails unless the time since start lies between low and high.
func (t *T) elapsed(what string, start time.Time, low, high time.Duration) {
	if took := time.Since(start); took < low || took > high {
		t.failf("%s came after %v, expected between %v and %v", what, took.Round(time.Millisecond), low, high)
	}
}

// cleanUp closes the connections and removes what would stay in the broker.
func (t *T) cleanUp() {
	for _, c := range t.conns {
		c.drop()
	}
	t.failures, t.conns = append([]string(nil), t.failures...), nil
	quietly := *t
	quietly.failures, quietly.within = nil, ""
	defer func() {
		if r := recover(); r != nil {
			if _, ours := r.(stop); !ours {
				panic(r)
			}
		}
		for _, c := range quietly.conns {
			c.drop()
		}
	}()
	for _, id := range t.kept {
		p := connect{name: "MQTT", level: 4, clean: true, id: id}
		quietly.open(p)
	}
	if len(t.retained) == 0 {
		return
	}
	c, _ := quietly.open(connect{name: "MQTT", level: 4, clean: true, id: t.id("broom")})
	for _, topic := range t.retained {
		c.publish(publish{topic: topic, qos: 1, retain: true})
	}
}
