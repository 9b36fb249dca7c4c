package conn

import (
	"fmt"
	"time"

	"github.com/fantail-mqtt/fantail/internal/broker"
	"github.com/fantail-mqtt/fantail/internal/limit"
	"github.com/fantail-mqtt/fantail/packet"
)

// What would become of a client is asked here by whoever explains it to the
// owner of the broker. The answers are the refusals that the client would hear,
// and to ask counts for nothing.

// Unwelcome is a refusal by those who count connections.
func Unwelcome(no *limit.Refusal) *Advice {
	return &Advice{Refusal: packet.Refuse(no.Code, heardOf(no.Code)), Reason: no.Reason, Why: no.Why, Do: no.Do, Told: true}
}

// Expect says why a client would be refused before anybody is asked who it is.
func (s *Server) Expect(clientID string) error {
	if err := s.limits.Load().names(clientID); err != nil {
		return err
	}
	return s.room()
}

// ExpectKnown says why a client would be refused of which it is known who it is.
func (s *Server) ExpectKnown(who *broker.Info) error {
	if _, err := s.limitsOf(who.Grant); err != nil {
		return err
	}
	if who.Grant != nil && !s.o.Users.Would(who.UserName, s.replaces(who.ClientID, who.UserName)) {
		return userFull()
	}
	return s.room()
}

// Rate is a limit of how fast something may come from a client.
type Rate struct {
	Key  string // in the configuration
	Most limit.Rate
	Of   string        // what comes
	Wait time.Duration // for as long nothing is read from the client
}

func (r Rate) String() string {
	text := fmt.Sprintf("%s: %d %s a second", r.Key, r.Most, r.Of)
	if r.Wait > 0 {
		text += fmt.Sprintf("; more has come: nothing is read from the client for %v", r.Wait.Round(time.Millisecond))
	}
	return text
}

// Rates are those of a client, which is connected or would be, and why its next
// message would be refused, if it would.
func (s *Server) Rates(who *broker.Info, qos byte, retain bool) (rates []Rate, refused error) {
	now := time.Now().UnixMilli()
	limits, err := s.limitsOf(who.Grant)
	if err != nil {
		return nil, err
	}
	var wait [2]time.Duration
	owner := who.Owner()
	if c, ok := s.o.Broker.Connection(who.ClientID).(*Conn); ok { // what held when it came
		limits = &Limits{}
		if c.extra == nil || c.extra.user == nil {
			owner = ""
		}
		if m := c.meter(); m != nil {
			limits = m.limits
			for i := range wait {
				wait[i] = time.Duration(max(0, m.until[i].Load()-now)) * time.Millisecond
			}
			if m.behind(now) >= leniency && c.version == packet.V5 {
				refused = tooFast()
			}
		}
	}
	if err := limits.takes(qos, retain); err != nil {
		refused = err
	}
	add := func(key string, most limit.Rate, of string, wait time.Duration) {
		if most > 0 {
			rates = append(rates, Rate{key, most, of, wait})
		}
	}
	add("limits.messages_in", limits.Messages, "messages", wait[0])
	add("limits.bytes_in", limits.Bytes, "bytes", wait[1])
	if owner != "" {
		b, messages, bytes := s.o.Users.Rates(owner, limit.At(now))
		add("limits.per_user.messages_in", b.Messages, "messages", messages)
		add("limits.per_user.bytes_in", b.Bytes, "bytes", bytes)
	}
	return rates, refused
}

// tooFast is the refusal of messages of a client that sends faster than it may.
func tooFast() error {
	return &Advice{
		Refusal: packet.Refuse(packet.QuotaExceeded, whyTooFast), Reason: "rate_in", Why: whyTooFast,
		Do: "have the client wait for its acknowledgements, or raise limits.messages_in and bytes_in",
	}
}

const whyTooFast = "the client sends faster than it may, and does not slow down"
