package crash

import (
	"encoding/binary"
	"errors"
	"slices"
)

// Control packet types [MQTT 2.1.2].
const (
	typeConnect = iota + 1
	typeConnack
	typePublish
	typePuback
	typePubrec
	typePubrel
	typePubcomp
	typeSubscribe
	typeSuback
	typeUnsubscribe
	typeUnsuback
	typeDisconnect = 14
)

// protocol5 is the protocol version of MQTT 5.0 in CONNECT.
const protocol5 = 5

var errMalformed = errors.New("malformed packet")

// frame is one control packet.
type frame struct {
	kind, flags byte
	body        []byte // until the next feed
}

// framer cuts a stream into control packets.
type framer struct{ buf []byte }

func (f *framer) feed(p []byte, each func(frame) error) error {
	f.buf = append(f.buf, p...)
	rest := f.buf
	for {
		n, size := remaining(rest)
		if n < 0 {
			return errMalformed
		}
		if n == 0 || len(rest) < 1+n+size {
			break
		}
		if err := each(frame{rest[0] >> 4, rest[0] & 15, rest[1+n : 1+n+size]}); err != nil {
			return err
		}
		rest = rest[1+n+size:]
	}
	f.buf = append(f.buf[:0], rest...)
	return nil
}

// remaining reads the Remaining Length behind the first byte: n is how many bytes
// it takes, 0 if it is not complete, below 0 if it is malformed.
func remaining(p []byte) (n, size int) {
	if len(p) == 0 {
		return 0, 0
	}
	size, n = variable(p[1:])
	return n, size
}

func variable(p []byte) (value, n int) {
	for i, b := range p {
		if i == 4 {
			return 0, -1
		}
		value |= int(b&0x7f) << (7 * i)
		if b < 0x80 {
			return value, i + 1
		}
	}
	return 0, 0
}

// body reads the fields of a packet; after one that is not there, all are zero and
// bad is set.
type body struct {
	p   []byte
	bad bool
}

func (b *body) take(n int) []byte {
	if n < 0 || n > len(b.p) {
		b.bad = true
		b.p = nil
		return make([]byte, max(0, min(n, 2)))
	}
	part := b.p[:n]
	b.p = b.p[n:]
	return part
}

func (b *body) byte() byte     { return b.take(1)[0] }
func (b *body) uint16() uint16 { return binary.BigEndian.Uint16(b.take(2)) }
func (b *body) string() string { return string(b.take(int(b.uint16()))) }

// properties skips those of a 5.0 packet.
func (b *body) properties(version byte) {
	if version != protocol5 {
		return
	}
	size, n := variable(b.p)
	if n <= 0 {
		b.bad = true
		return
	}
	b.take(n)
	b.take(size)
}

type publish struct {
	topic            string
	id               uint16
	payload          string
	qos              byte
	dup, retain, bad bool
}

func parsePublish(f frame, version byte) publish {
	b := body{p: f.body}
	m := publish{qos: f.flags >> 1 & 3, dup: f.flags&8 != 0, retain: f.flags&1 != 0}
	m.topic = b.string()
	if m.qos > 0 {
		m.id = b.uint16()
	}
	b.properties(version)
	m.payload = string(b.p)
	m.bad = b.bad
	return m
}

// parseAck reads PUBACK, PUBREC, PUBREL and PUBCOMP.
func parseAck(f frame) (id uint16, code byte, err error) {
	b := body{p: f.body}
	id = b.uint16()
	if len(b.p) > 0 {
		code = b.byte()
	}
	return id, code, malformed(b.bad)
}

// parseConnect reads the version and the client id.
func parseConnect(f frame) (version byte, client string, err error) {
	b := body{p: f.body}
	b.string()
	version = b.byte()
	b.take(3) // flags, keep-alive
	b.properties(version)
	client = b.string()
	return version, client, malformed(b.bad)
}

func parseConnack(f frame) (present bool, code byte, err error) {
	b := body{p: f.body}
	present = b.byte()&1 != 0
	code = b.byte()
	return present, code, malformed(b.bad)
}

// wanted is a filter of a SUBSCRIBE or UNSUBSCRIBE.
type wanted struct {
	filter string
	qos    byte
}

func parseFilters(f frame, version byte) (id uint16, filters []wanted, err error) {
	b := body{p: f.body}
	id = b.uint16()
	b.properties(version)
	for len(b.p) > 0 {
		w := wanted{filter: b.string()}
		if f.kind == typeSubscribe {
			w.qos = b.byte() & 3
		}
		filters = append(filters, w)
	}
	return id, filters, malformed(b.bad)
}

// parseCodes reads SUBACK and UNSUBACK; the latter has no codes before 5.0.
func parseCodes(f frame, version byte) (id uint16, codes []byte, err error) {
	b := body{p: f.body}
	id = b.uint16()
	b.properties(version)
	return id, slices.Clone(b.p), malformed(b.bad)
}

func malformed(bad bool) error {
	if bad {
		return errMalformed
	}
	return nil
}
