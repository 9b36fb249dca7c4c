package broker

import (
	"sync"

	"github.com/fantail-mqtt/fantail/internal/route"
	"github.com/fantail-mqtt/fantail/internal/session"
	"github.com/fantail-mqtt/fantail/message"
	"github.com/fantail-mqtt/fantail/packet"
	"github.com/fantail-mqtt/fantail/topic"
)

// insider is a subscriber inside the process: no session, no connection, a
// channel. It never holds a publisher up: what it has no room for is dropped
// and counted.
type insider struct {
	b        *Broker
	messages chan *message.Message
}

// insideRoom is how many messages may wait for an insider.
const insideRoom = 4096

func (i *insider) deliver(d *message.Draft, to *session.Route) session.Outcome {
	m := d.Keep()
	if to.Retain != m.Retain {
		c := *m
		c.Retain = to.Retain
		m = &c
	}
	select {
	case i.messages <- m:
		return session.Sent
	default:
		i.b.stats.Dropped[DropInside].Add(1)
		return session.DroppedSlow
	}
}

// SubscribeInside subscribes f, which is called by one goroutine, in order,
// until stop is called; stop returns when the last call has.
func (b *Broker) SubscribeInside(filter string, f func(*message.Message)) (stop func(), err error) {
	parsed, err := topic.ParseFilter(filter, b.limits.Load().TopicLevels)
	if err != nil {
		return nil, err
	}
	in := &insider{b: b, messages: make(chan *message.Message, insideRoom)}
	c := &Client{ID: "", inside: in}
	b.table.add(c)
	var done sync.WaitGroup
	done.Add(1)
	quit := make(chan struct{})
	go func() { // ends with stop, which waits for it
		defer done.Done()
		for {
			select {
			case m := <-in.messages:
				f(m)
			case <-quit:
				return
			}
		}
	}()
	b.index.Subscribe(parsed, c.handle, route.Options{QoS: 2, RetainAsPublished: true})
	if !parsed.IsShared() {
		b.do(func(t *Tick) { b.sendRetainedInside(t, c, parsed.Path) })
	}
	return func() {
		b.index.Unsubscribe(parsed, c.handle)
		b.table.remove(c)
		close(quit)
		done.Wait()
	}, nil
}

func (b *Broker) sendRetainedInside(t *Tick, c *Client, filter string) {
	w := &walk{filter: filter, qos: 2, cursor: b.retained.Iterate(filter)}
	for !b.step(t, c, w) {
	}
}

// PublishInside publishes a message of the program's own, and returns what a
// client would hear.
func (b *Broker) PublishInside(m *message.Message) (code packet.Code, err error) {
	if err := topic.ValidName(m.Topic, b.limits.Load().TopicLevels); err != nil {
		return packet.TopicNameInvalid, err
	}
	b.do(func(t *Tick) {
		kept := *m
		kept.Arrived = t.now
		d := message.From(&kept)
		code, _ = b.route(t, nil, &d)
	})
	return code, nil
}
