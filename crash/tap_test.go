package crash

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
)

// payload is the text of message key, of at least size bytes.
func payload(key string, size int) string {
	text := key + " "
	for len(text) < size {
		text += key + "."
	}
	return text
}

// keyOf reads the key of a payload and checks that nothing of the rest is damaged.
// An empty one clears a retained message, of which there is one to a topic.
func keyOf(topic, text string) (key string, whole bool) {
	if text == "" {
		return topic + " cleared", true
	}
	key, _, _ = strings.Cut(text, " ")
	return key, payload(key, len(text)) == text
}

// line is a client as seen on the wire, through all its connections.
type line struct {
	who     string
	history *history
	release func(id uint16) // called before a PUBREL leaves; may be nil

	mu      sync.Mutex // guards the rest
	version byte
	sent    map[uint16]string   // messages on their way to the server
	held    map[uint16]string   // QoS 2 messages on their way to the client, for the log alone
	asked   map[uint16][]wanted // filters on their way
	granted map[string]bool     // filters of which the SUBACK came
	conn    *tap                // the last one
}

func newLine(h *history, who string) *line {
	return &line{who: who, history: h, sent: map[uint16]string{}, held: map[uint16]string{}, asked: map[uint16][]wanted{}, granted: map[string]bool{}}
}

// tap is a connection of the client of a line, as the client holds it.
type tap struct {
	net.Conn
	line *line

	in framer // owned by the one who reads

	gone atomic.Bool // we closed it

	// Locker is held for a whole packet, which paho.golang writes in pieces: it
	// looks for it.
	sync.Locker

	mu   sync.Mutex // guards the rest; held while writing
	out  framer
	dead error // of the first write that failed: what comes after it goes nowhere
}

// tapped connects a line.
func tapped(ctx context.Context, l *line, address string) (*tap, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	t := &tap{Conn: conn, line: l, Locker: &sync.Mutex{}}
	l.mu.Lock()
	l.conn = t
	l.mu.Unlock()
	return t, nil
}

// drop closes the connection as the network does: paho.mqtt.golang takes "use of
// closed connection" for its own work and would not notice that it was lost.
func (t *tap) drop() {
	t.gone.Store(true)
	_ = t.Close()
}

func (t *tap) failure(err error) error {
	if err != nil && t.gone.Load() {
		return io.EOF
	}
	return err
}

func (t *tap) Read(p []byte) (int, error) {
	n, err := t.Conn.Read(p)
	if bad := t.in.feed(p[:n], t.line.came); bad != nil {
		t.line.tell(event{kind: broken, why: fmt.Sprintf("the server sends what is no MQTT: %v", bad)})
	}
	return n, t.failure(err)
}

func (t *tap) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.dead != nil {
		return 0, t.dead
	}
	if bad := t.out.feed(p, t.line.goes); bad != nil {
		t.line.tell(event{kind: broken, why: fmt.Sprintf("the client sends what is no MQTT: %v", bad)})
	}
	n, err := t.Conn.Write(p)
	t.dead = t.failure(err)
	return n, t.dead
}

// leave says DISCONNECT and closes the connection that there is.
func (l *line) leave() {
	l.mu.Lock()
	t := l.conn
	l.mu.Unlock()
	if t != nil {
		t.Lock()
		_, _ = t.Write([]byte{typeDisconnect << 4, 0})
		t.Unlock()
		t.drop()
	}
}

// drop closes the connection that there is.
func (l *line) drop() {
	l.mu.Lock()
	t := l.conn
	l.mu.Unlock()
	if t != nil {
		t.drop()
	}
}

// has says whether the SUBACK for a filter came.
func (l *line) has(filter string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.granted[filter]
}

func (l *line) tell(e event) {
	e.who = l.who
	l.history.add(e)
}

// goes takes in a packet that is about to leave the client.
func (l *line) goes(f frame) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch f.kind {
	case typeConnect:
		version, _, err := parseConnect(f)
		l.version = version
		clear(l.asked)
		return err
	case typePublish:
		m := parsePublish(f, l.version)
		if m.qos == 0 || m.bad {
			return malformed(m.bad)
		}
		key, _ := keyOf(m.topic, m.payload)
		l.sent[m.id] = key
		l.tell(event{kind: sending, key: key, topic: m.topic, id: m.id, qos: m.qos, dup: m.dup, retain: m.retain})
	case typePubrel:
		id, _, err := parseAck(f)
		if l.release != nil {
			l.release(id)
		}
		l.tell(event{kind: releasing, key: l.sent[id], id: id})
		return err
	case typeSubscribe, typeUnsubscribe:
		id, filters, err := parseFilters(f, l.version)
		l.asked[id] = filters
		for _, w := range filters {
			if f.kind == typeSubscribe {
				l.tell(event{kind: subscribing, topic: w.filter, qos: w.qos, id: id})
			}
		}
		return err
	}
	return nil
}

// came takes in a packet that the client has read.
func (l *line) came(f frame) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch f.kind {
	case typeConnack:
		present, code, err := parseConnack(f)
		if code == 0 {
			l.tell(event{kind: connected, present: present})
			l.begin(present)
		}
		return err
	case typePublish:
		return l.receive(parsePublish(f, l.version))
	case typePuback, typePubrec, typePubcomp:
		id, code, err := parseAck(f)
		l.settle(f.kind, id, code)
		return err
	case typePubrel:
		id, _, err := parseAck(f)
		l.tell(event{kind: released, key: l.held[id], id: id})
		return err
	case typeSuback, typeUnsuback:
		id, codes, err := parseCodes(f, l.version)
		l.grant(f.kind, id, codes)
		return err
	}
	return nil
}

// begin follows the client: without a session on the server, paho.golang drops its
// own, paho.mqtt.golang sends again what it holds.
func (l *line) begin(present bool) {
	if present {
		return
	}
	clear(l.granted)
	if l.version == protocol5 && len(l.sent) > 0 {
		clear(l.sent)
		l.tell(event{kind: abandoned})
	}
}

func (l *line) receive(m publish) error {
	if m.bad {
		return errMalformed
	}
	key, whole := keyOf(m.topic, m.payload)
	if !whole {
		l.tell(event{kind: broken, key: key, topic: m.topic, why: fmt.Sprintf("a damaged payload of %d bytes came", len(m.payload))})
		return nil
	}
	if m.qos == 2 {
		l.held[m.id] = key
	}
	l.tell(event{kind: received, key: key, topic: m.topic, id: m.id, qos: m.qos, dup: m.dup, retain: m.retain})
	return nil
}

func (l *line) settle(packet byte, id uint16, code byte) {
	key, known := l.sent[id]
	switch {
	case !known:
		// An answer to what was abandoned: nobody waits for it.
	case code >= 0x80 && packet != typePubcomp:
		l.tell(event{kind: refused, key: key, id: id, why: fmt.Sprintf("reason code 0x%02X", code)})
		delete(l.sent, id)
	case packet == typePubrec:
		l.tell(event{kind: recorded, key: key, id: id})
	default:
		// PUBCOMP says 0x92 to a PUBREL sent again, when the first one was answered into
		// the broken connection.
		l.tell(event{kind: acknowledged, key: key, id: id})
		delete(l.sent, id)
	}
}

func (l *line) grant(packet byte, id uint16, codes []byte) {
	for i, w := range l.asked[id] {
		if packet == typeUnsuback {
			delete(l.granted, w.filter)
			l.tell(event{kind: unsubscribed, topic: w.filter, id: id})
			continue
		}
		if i >= len(codes) || codes[i] != w.qos {
			l.tell(event{kind: broken, topic: w.filter, why: fmt.Sprintf("SUBACK answers %v to QoS %d", codes, w.qos)})
			continue
		}
		l.granted[w.filter] = true
		l.tell(event{kind: subscribed, topic: w.filter, qos: w.qos, id: id})
	}
	delete(l.asked, id)
}
