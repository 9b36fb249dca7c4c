package broker

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/fantail-mqtt/fantail/internal/session"
	"github.com/fantail-mqtt/fantail/message"
	"github.com/fantail-mqtt/fantail/packet"
)

// actor is a connection's loop that does this and that. Two actors share each
// client id, so they take it from each other all the time.
type actor struct {
	b    *Broker
	t    *Tick
	rnd  *rand.Rand
	id   string
	link *link
	c    *Client
	next uint16
}

func (a *actor) run(steps int) error {
	for range steps {
		a.t.Begin()
		err := a.step()
		a.t.End()
		var r *packet.Refusal
		switch {
		case errors.As(err, &r), errors.Is(err, ErrTakenOver):
			a.leave(Ending{Reason: "refused"})
		case err != nil:
			return err
		}
	}
	if a.link != nil {
		a.leave(Ending{Reason: "the end"})
	}
	return nil
}

func (a *actor) leave(e Ending) {
	a.t.Begin()
	a.b.Disconnect(a.t, a.c, a.link, e)
	a.t.End()
	a.link = nil
}

func (a *actor) step() error {
	if a.link == nil {
		a.connect()
		return nil
	}
	a.link.mu.Lock()
	kicked := a.link.kicked
	a.link.mu.Unlock()
	if kicked != nil {
		return kicked
	}
	a.next = a.next%100 + 1
	filter := pick(append(filters(), "$SYS/#"), a.rnd.IntN(100))
	switch n := a.rnd.IntN(20); {
	case n == 0:
		return packet.Refuse(packet.Success, "left")
	case n < 3:
		return a.b.Subscribe(a.t, a.c, a.link, &packet.Subscribe{ID: a.next, Filters: []packet.Subscription{{Filter: filter, QoS: byte(a.rnd.IntN(3))}}})
	case n < 4:
		return a.b.Unsubscribe(a.t, a.c, a.link, &packet.Unsubscribe{ID: a.next, Filters: []string{filter}})
	case n < 12:
		return a.b.Publish(a.t, a.c, a.link, &packet.Publish{
			Topic: []byte(pick([]string{"a", "a/b", "b"}, a.rnd.IntN(3))), Payload: []byte(a.id),
			QoS: byte(a.rnd.IntN(3)), ID: a.next, Retain: a.rnd.IntN(5) == 0, Alias: uint16(a.rnd.IntN(3)),
		})
	default:
		return a.acknowledge()
	}
}

func (a *actor) connect() {
	a.link = newLink(a.id, pick([]packet.Version{packet.V5, packet.V311}, a.rnd.IntN(2)))
	r := &Connect{
		Info: a.link.info, CleanStart: a.rnd.IntN(4) == 0,
		Terms: session.Terms{Version: a.link.info.Version, Expiry: pick([]uint32{session.Never, 0}, a.rnd.IntN(2))},
	}
	if a.rnd.IntN(2) == 0 {
		r.Will = &packet.Will{Topic: "a/b", Payload: []byte("will"), QoS: 1, Delay: uint32(a.rnd.IntN(2) * 1000)}
	}
	a.b.Admit(0)
	a.c, _ = a.b.Connect(a.t, a.link, r)
}

// acknowledge answers all that has come.
func (a *actor) acknowledge() error {
	for _, f := range a.link.frames() {
		var err error
		switch f.Type {
		case packet.PUBLISH:
			var p packet.Publish
			if err := packet.ParsePublish(&p, f.Flags, f.Body, a.link.info.Version, packet.FromServer); err != nil {
				return err
			}
			if p.QoS > 0 {
				err = a.b.Acknowledge(a.t, a.c, a.link, pick([]packet.Type{packet.PUBACK, packet.PUBREC}, int(p.QoS)-1), &packet.Ack{ID: p.ID})
			}
		case packet.PUBREL, packet.PUBREC:
			answer := packet.PUBCOMP
			if f.Type == packet.PUBREC {
				answer = packet.PUBREL
			}
			err = a.b.Acknowledge(a.t, a.c, a.link, answer, &packet.Ack{ID: uint16(f.Body[0])<<8 | uint16(f.Body[1])})
		default:
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func TestManyLoopsAgree(t *testing.T) {
	for name, log := range logs() {
		t.Run(name, func(t *testing.T) {
			log := log()
			h, stop := newHistory(log, func(o *Options) { o.Limits.ReceiveMaximum, o.Limits.QueueQoS0 = 1000, true })
			defer stop()
			quit := make(chan struct{})
			var loops, beside sync.WaitGroup
			beside.Go(func() { // the log; ends with quit
				for {
					select {
					case <-quit:
						return
					default:
						h.log.commit()
					}
				}
			})
			in, err := h.b.SubscribeInside("#", func(*message.Message) {})
			if err != nil {
				t.Fatal(err)
			}
			for i := range 8 {
				a := &actor{b: h.b, t: h.b.NewTick(), rnd: rand.New(rand.NewPCG(uint64(i), 1)), id: fmt.Sprint("c", i%4)}
				loops.Go(func() { // ends after its steps, and once there were takeovers enough
					for more := true; more; more = h.b.Stats().Takeovers.Load() < 10 && t.Context().Err() == nil {
						if err := a.run(2000); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			loops.Wait()
			close(quit)
			beside.Wait()
			for h.log.commit() || h.b.lateCount() > 0 { // those go on beside this
				continue
			}
			in()
			if err := h.differ(); err != nil {
				t.Fatal(err)
			}
			if n := h.b.Stats().Takeovers.Load(); n < 10 {
				t.Errorf("only %d takeovers", n)
			}
		})
	}
}
