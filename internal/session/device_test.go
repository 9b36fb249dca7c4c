package session_test

import (
	"fmt"

	"github.com/fantail-mqtt/fantail/packet"
)

// device is a client that keeps the rules: it reads what has reached it, and
// owes acknowledgements.
type device struct {
	version packet.Version
	aliases map[uint16]string
	held    map[uint16]bool // QoS 2 identifiers between PUBLISH and PUBREL
	owes    []owed
	got     []receipt // QoS 1 and 2 messages, as an application would see them
}

type owed struct {
	typ packet.Type
	id  uint16
}

type receipt struct {
	payload string
	dup     bool
}

// connect starts a connection of which nothing has arrived.
func (d *device) connect(v packet.Version) {
	d.version, d.aliases = v, map[uint16]string{}
	if d.held == nil {
		d.held = map[uint16]bool{}
	}
}

// read takes in what the server has sent.
func (d *device) read(b []byte) error {
	for len(b) > 0 {
		f, n, err := packet.Split(b, len(b))
		if err != nil || n == 0 {
			return fmt.Errorf("not a packet: %w", err)
		}
		b = b[n:]
		if f.Type == packet.PUBLISH {
			err = d.publish(f)
		} else {
			err = d.pubrel(f)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *device) publish(f packet.Frame) error {
	var p packet.Publish
	if err := packet.ParsePublish(&p, f.Flags, f.Body, d.version, packet.FromServer); err != nil {
		return err
	}
	if p.Alias > 0 {
		if len(p.Topic) > 0 {
			d.aliases[p.Alias] = string(p.Topic)
		}
		p.Topic = []byte(d.aliases[p.Alias])
	}
	if want := topicOf(string(p.Payload)); string(p.Topic) != want {
		return fmt.Errorf("%q came with topic %q, want %q", p.Payload, p.Topic, want)
	}
	switch p.QoS {
	case 1:
		d.owes = append(d.owes, owed{packet.PUBACK, p.ID})
	case 2:
		d.owes = append(d.owes, owed{packet.PUBREC, p.ID})
		if d.held[p.ID] {
			return nil
		}
		d.held[p.ID] = true
	default:
		return nil
	}
	d.got = append(d.got, receipt{string(p.Payload), p.Dup})
	return nil
}

func (d *device) pubrel(f packet.Frame) error {
	a, err := packet.ParseAck(f.Type, f.Body, d.version)
	if err != nil || f.Type != packet.PUBREL {
		return fmt.Errorf("%v: %w", f.Type, err)
	}
	delete(d.held, a.ID)
	d.owes = append(d.owes, owed{packet.PUBCOMP, a.ID})
	return nil
}
