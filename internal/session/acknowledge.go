package session

import (
	"bytes"

	"github.com/fantail-mqtt/fantail/packet"
)

// Puback takes in a PUBACK: the QoS 1 message is done, whatever its code
// [MQTT-4.4.0-2].
func (s *Session) Puback(w *Work, a *packet.Ack) error {
	i := s.lookup(a.ID)
	if i < 0 {
		return nil // of an earlier connection; nothing waits for it
	}
	if it := &s.out.window.all()[i]; it.due && !it.tried {
		return nil // it was not sent yet, so this is about an older message of the identifier
	} else if it.QoS == 2 {
		return packet.Refuse(packet.ProtocolError, "PUBACK for a QoS 2 message")
	}
	s.finish(w, i)
	return nil
}

// Pubrec takes in a PUBREC: the client has the QoS 2 message, or refuses it.
func (s *Session) Pubrec(w *Work, a *packet.Ack) error {
	i := s.lookup(a.ID)
	if i < 0 {
		if !a.Code.Failed() {
			s.pubrel(w, a.ID, packet.PacketIdentifierNotFound)
		}
		return nil
	}
	it := &s.out.window.all()[i]
	if it.due && !it.tried {
		return nil // as in Puback
	}
	if it.QoS == 1 {
		return packet.Refuse(packet.ProtocolError, "PUBREC for a QoS 1 message")
	}
	if a.Code.Failed() { // [MQTT-4.4.0-2]
		s.finish(w, i)
		return nil
	}
	if it.due { // the client got it on an earlier connection
		it.due = false
		s.out.flying++
	}
	if !it.Released {
		it.Released, it.Message = true, nil
		s.change(w, Change{Kind: Release, Item: Item{Seq: it.Seq, ID: it.ID}})
		if it.wait = s.stores(w); it.wait {
			w.Waits = append(w.Waits, it.Seq)
		}
	}
	if !it.wait {
		s.pubrel(w, a.ID, packet.Success)
	}
	return nil
}

// Pubcomp takes in a PUBCOMP: the QoS 2 message is done.
func (s *Session) Pubcomp(w *Work, a *packet.Ack) error {
	i := s.lookup(a.ID)
	if i < 0 {
		return nil
	}
	if !s.out.window.all()[i].Released {
		return packet.Refuse(packet.ProtocolError, "PUBCOMP before PUBREC")
	}
	s.finish(w, i)
	return nil
}

func (s *Session) lookup(id uint16) int {
	if s.out == nil {
		return -1
	}
	return s.out.find(id)
}

// finish ends the i-th message of the window and fills the room it leaves.
func (s *Session) finish(w *Work, i int) {
	s.change(w, Change{Kind: Finish, Item: Item{Seq: s.out.window.all()[i].Seq}})
	s.out.remove(i)
	s.Drain(w)
}

func (s *Session) pubrel(w *Work, id uint16, code packet.Code) {
	w.Out = packet.AppendAck(w.Out, packet.PUBREL, &packet.Ack{ID: id, Code: code}, s.Version, 0)
}

// --- incoming ---

// incoming is what a client's own messages leave behind.
type incoming struct {
	// open are the QoS 2 packet identifiers between PUBLISH and PUBREL; true:
	// the PUBLISH came on this connection.
	open    map[uint16]bool
	current int      // how many of them are true
	aliases [][]byte // topics by alias - 1; replaced, never overwritten
}

func (in *incoming) forgetAliases() {
	if in != nil {
		in.aliases = nil
	}
}

// reconnect starts a connection: the client's quota is full again (5.0,
// section 4.9). It may have lost its part of the session and never send the
// PUBREL of what is open.
func (in *incoming) reconnect() {
	if in == nil {
		return
	}
	in.forgetAliases()
	for id := range in.open {
		in.open[id] = false
	}
	in.current = 0
}

// take notes a PUBLISH on this connection.
func (in *incoming) take(id uint16) {
	if in.open == nil {
		in.open = map[uint16]bool{}
	}
	in.open[id] = true
	in.current++
}

func (s *Session) incoming() *incoming {
	if s.inbox == nil {
		s.inbox = &incoming{}
	}
	return s.inbox
}

// Topic puts the topic that an alias stands for into p, or remembers the
// alias (5.0, section 3.3.2.3.4). The topic stays as it is when the alias
// changes.
func (s *Session) Topic(w *Work, p *packet.Publish) error {
	if p.Alias == 0 {
		if len(p.Topic) == 0 {
			return packet.Refuse(packet.ProtocolError, "PUBLISH without a topic")
		}
		return nil
	}
	if p.Alias > w.Limits.TopicAliasMaximum { // [MQTT-3.3.2-9]
		return packet.Refuse(packet.TopicAliasInvalid, "topic alias is above the topic alias maximum")
	}
	in := s.incoming()
	i := int(p.Alias) - 1
	if len(p.Topic) > 0 {
		for len(in.aliases) <= i {
			in.aliases = append(in.aliases, nil)
		}
		if !bytes.Equal(in.aliases[i], p.Topic) {
			in.aliases[i] = bytes.Clone(p.Topic)
		}
		return nil
	}
	if i >= len(in.aliases) || in.aliases[i] == nil {
		return packet.Refuse(packet.ProtocolError, "topic alias was never set on this connection")
	}
	p.Topic = in.aliases[i]
	return nil
}

// Admit takes in a QoS 1 or 2 message and says whether to route it: not if it
// is a QoS 2 message that is open already [MQTT-4.3.3-10]. The caller, who has
// held acknowledgements of this many messages back, answers it with PUBACK or
// PUBREC in any case.
func (s *Session) Admit(w *Work, p *packet.Publish, held int) (fresh bool, err error) {
	open, here, current := s.opened(p.ID)
	switch {
	case here && p.QoS == 1:
		return false, packet.Refuse(packet.ProtocolError, "packet identifier of an open QoS 2 message on a QoS 1 message")
	case here:
		return false, nil
	case current+held >= s.incomingWindow(w): // [MQTT-3.3.4-7]
		return false, packet.Refuse(packet.ReceiveMaximumExceeded, "more unfinished messages than the receive maximum")
	case p.QoS == 1:
		// If the identifier is open, it is so from an earlier connection,
		// and the client has forgotten.
		s.complete(w, p.ID)
		return true, nil
	}
	s.incoming().take(p.ID)
	if open {
		return false, nil
	}
	s.change(w, Change{Kind: Receive, ID: p.ID})
	return true, nil
}

// opened says whether the packet identifier is open and was sent on this
// connection, and how many such there are.
func (s *Session) opened(id uint16) (open, here bool, current int) {
	if s.inbox == nil {
		return false, false, 0
	}
	here, open = s.inbox.open[id]
	return open, here, s.inbox.current
}

// incomingWindow is how many incoming messages may be unfinished. A 3.x client
// has heard of no limit: it has as many as there are packet identifiers.
func (s *Session) incomingWindow(w *Work) int {
	if s.Version < packet.V5 {
		return 65_535
	}
	return int(w.Limits.ReceiveMaximum)
}

// Refuse forgets a QoS 2 message whose PUBREC says that it was refused
// [MQTT-4.3.3-9].
func (s *Session) Refuse(w *Work, id uint16) { s.complete(w, id) }

// Pubrel takes in a PUBREL and returns the code of the PUBCOMP that answers it
// [MQTT-4.3.3-11].
func (s *Session) Pubrel(w *Work, a *packet.Ack) packet.Code {
	if !s.complete(w, a.ID) {
		return packet.PacketIdentifierNotFound
	}
	return packet.Success
}

// complete ends an incoming QoS 2 message; false if it is not open.
func (s *Session) complete(w *Work, id uint16) bool {
	open, here, _ := s.opened(id)
	if !open {
		return false
	}
	if here {
		s.inbox.current--
	}
	delete(s.inbox.open, id)
	s.change(w, Change{Kind: Complete, ID: id})
	return true
}

// Open yields the packet identifiers of incoming QoS 2 messages that wait for
// their PUBREL, in no order.
func (s *Session) Open(yield func(uint16) bool) {
	if s.inbox == nil {
		return
	}
	for id := range s.inbox.open {
		if !yield(id) {
			return
		}
	}
}
