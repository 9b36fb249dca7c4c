package broker

import (
	"context"
	"sync"
	"time"

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
	c := &Client{insider: true, busy: &busy{inside: in}}
	b.table.add(c)
	b.watchSys(parsed, 1)
	b.index.Subscribe(parsed, c.handle, route.Options{QoS: 2, RetainAsPublished: true})
	var done sync.WaitGroup
	done.Add(1)
	quit := make(chan struct{})
	w := in.walk(parsed) // begun here: what is published once this returns comes only once, unless much is retained
	go func() {          // ends with stop, which waits for it
		defer done.Done()
		w.run(f, quit)
		for {
			select {
			case m := <-in.messages:
				f(m)
			case <-quit:
				return
			}
		}
	}()
	return func() {
		b.index.Unsubscribe(parsed, c.handle)
		b.watchSys(parsed, -1)
		b.table.remove(c)
		close(quit)
		done.Wait()
	}, nil
}

// insideWalk hands on the messages that are there already.
type insideWalk struct {
	b      *Broker
	cursor route.Cursor
	found  []*message.Message
	done   bool
}

// walk begins with the first messages that a filter matches; a shared
// subscription gets none.
func (i *insider) walk(f topic.Filter) *insideWalk {
	if f.IsShared() {
		return &insideWalk{done: true}
	}
	w := &insideWalk{b: i.b, cursor: i.b.retained.Iterate(f.Path)}
	now := time.Now().UnixMilli()
	for _, v := range i.b.figuresFor(f.Path) {
		w.found = append(w.found, &message.Message{Topic: sysPrefix + v.name, Payload: []byte(v.value), Arrived: now, Retain: true})
	}
	w.next()
	return w
}

// next looks for some more.
func (w *insideWalk) next() {
	var batch []retained
	w.done = w.b.retained.Next(&w.cursor, walkNodes, time.Now().UnixMilli(), func(_ string, m retained) bool {
		batch = append(batch, m)
		return len(batch) < walkMessages
	})
	if len(batch) == 0 {
		return
	}
	w.b.do(func(t *Tick) {
		for _, m := range batch {
			if !w.b.revoked(t, m) {
				w.found = append(w.found, m.Message)
			}
		}
	})
}

// run calls f for all of them, as fast as f takes them.
func (w *insideWalk) run(f func(*message.Message), quit <-chan struct{}) {
	for {
		for _, m := range w.found {
			select {
			case <-quit:
				return
			default:
				f(m)
			}
		}
		if w.found = nil; w.done {
			return
		}
		w.next()
	}
}

// PublishInside publishes a message of the program's own, and returns what a
// client would hear, once the message is as safe as that promises. An end of the
// context ends the waiting only.
func (b *Broker) PublishInside(ctx context.Context, m *message.Message) (code packet.Code, err error) {
	if err := topic.ValidName(m.Topic, b.limits.Load().TopicLevels); err != nil {
		return packet.TopicNameInvalid, err
	}
	stored := make(chan error, 1)
	b.do(func(t *Tick) {
		logged := t.logged
		kept := *m
		kept.Arrived = t.now
		d := message.From(&kept)
		if b.failing() != nil && b.keeps(t, nil, &d) {
			t.stats.Dropped[DropStore]++
			code = packet.QuotaExceeded
		} else {
			code = b.route(t, nil, &d)
		}
		if t.logged == logged || b.o.Log.After(func(err error) { stored <- err }) {
			stored <- nil
		}
	})
	select {
	case err = <-stored:
	case <-ctx.Done():
		err = ctx.Err()
	}
	return code, err
}
