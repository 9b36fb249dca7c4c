package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fantail-mqtt/fantail/internal/session"
	"github.com/fantail-mqtt/fantail/message"
	"github.com/fantail-mqtt/fantail/topic"
)

// sys publishes what the broker knows of itself: figures under $SYS/broker with
// mosquitto's names, and presence events under $SYS/brokers/<node>/clients.
type sys struct {
	subscribers atomic.Int64 // subscriptions whose filter begins with $

	mu    sync.Mutex // guards the rest
	loads map[string]*load
	last  time.Time
}

// load is a moving average per minute over one, five and fifteen minutes, as
// mosquitto keeps them.
type load struct {
	before  uint64
	average [3]float64
}

func minutes() [3]float64 { return [3]float64{1, 5, 15} }

// refreshSys publishes the figures at every interval.
func (b *Broker) refreshSys(ctx context.Context) {
	defer b.done.Done()
	ticker := time.NewTicker(b.o.SysInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			b.sys.measure(&b.stats)
			if b.sys.subscribers.Load() == 0 {
				continue
			}
			b.do(func(t *Tick) {
				for _, v := range b.figures() {
					b.tell(t, sysPrefix+v.name, v.value)
				}
			})
		}
	}
}

// measure brings the moving averages up to date.
func (s *sys) measure(st *Stats) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if s.loads == nil {
		s.loads = map[string]*load{}
		s.last = now
	}
	passed := now.Sub(s.last).Minutes()
	s.last = now
	for name, count := range loadCounters(st) {
		l := s.loads[name]
		if l == nil {
			s.loads[name] = &load{before: count}
			continue
		}
		if passed <= 0 {
			continue
		}
		rate := float64(count-l.before) / passed
		l.before = count
		for i, m := range minutes() {
			k := math.Exp(-passed / m)
			l.average[i] = rate + k*(l.average[i]-rate)
		}
	}
}

func loadCounters(st *Stats) map[string]uint64 {
	return map[string]uint64{
		"messages/received": st.PacketsReceived.Load(),
		"publish/received":  sum(&st.PublishReceived),
		"publish/sent":      sum(&st.PublishSent),
		"publish/dropped":   st.DroppedAll(),
		"bytes/received":    st.ReceivedBytes.Load(),
		"bytes/sent":        st.SentBytes.Load(),
	}
}

func sum(a *[3]atomic.Uint64) uint64 { return a[0].Load() + a[1].Load() + a[2].Load() }

// DroppedAll is how many messages were dropped, whatever the reason.
func (s *Stats) DroppedAll() (n uint64) {
	for i := range s.Dropped {
		n += s.Dropped[i].Load()
	}
	return n
}

type figure struct{ name, value string }

const sysPrefix = "$SYS/broker/"

// figuresFor are the figures that a new subscriber of a filter gets.
func (b *Broker) figuresFor(filter string) []figure {
	if !strings.HasPrefix(filter, "$SYS") {
		return nil
	}
	return slices.DeleteFunc(b.figures(), func(v figure) bool { return !topic.Match(filter, sysPrefix+v.name) })
}

// watchSys counts the subscriptions that could see what is published here.
func (b *Broker) watchSys(f topic.Filter, n int64) {
	if strings.HasPrefix(f.Path, "$") {
		b.sys.subscribers.Add(n)
	}
}

// figures are the values under $SYS/broker.
func (b *Broker) figures() []figure {
	st := &b.stats
	connected, sessions := st.Connected.Load(), st.Sessions.Load()
	retained, bytes := b.RetainedCount()
	n := func(x int64) string { return strconv.FormatInt(x, 10) }
	u := func(x uint64) string { return strconv.FormatUint(x, 10) }
	return append(b.sys.figures(), []figure{
		{"version", "fantail version " + *b.version.Load()},
		{"uptime", n(int64(time.Since(b.start).Seconds())) + " seconds"},
		{"clients/total", n(sessions)},
		{"clients/connected", n(connected)},
		{"clients/active", n(connected)},
		{"clients/disconnected", n(sessions - connected)},
		{"clients/inactive", n(sessions - connected)},
		{"clients/maximum", n(st.MaxClients.Load())},
		{"clients/expired", u(st.Expired.Load())},
		{"messages/received", u(st.PacketsReceived.Load())},
		{"publish/messages/received", u(sum(&st.PublishReceived))},
		{"publish/messages/sent", u(sum(&st.PublishSent))},
		{"publish/messages/dropped", u(st.DroppedAll())},
		{"bytes/received", u(st.ReceivedBytes.Load())},
		{"bytes/sent", u(st.SentBytes.Load())},
		{"subscriptions/count", n(int64(b.index.Len()))},
		{"shared_subscriptions/count", n(int64(b.index.Groups()))},
		{"retained messages/count", n(int64(retained))},
		{"store/messages/count", n(int64(retained))},
		{"store/messages/bytes", n(bytes)},
	}...)
}

func (s *sys) figures() (list []figure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, l := range s.loads {
		for i, m := range minutes() {
			list = append(list, figure{
				fmt.Sprintf("load/%s/%dmin", name, int(m)), strconv.FormatFloat(l.average[i], 'f', 2, 64),
			})
		}
	}
	return list
}

// tell publishes one of the broker's own values to whoever has subscribed.
func (b *Broker) tell(t *Tick, name, value string) {
	d := message.Draft{Name: []byte(name), Topic: name, Payload: []byte(value), Arrived: t.now}
	t.fanOut(t.plan(d.Name), nil, &d)
}

// sendSys sends a new subscriber the present figures, as if they were
// retained.
func (b *Broker) sendSys(t *Tick, c *Client, w *walk) {
	r := session.Route{QoS: w.qos, Retain: true}
	if w.id > 0 {
		r.IDs = []uint32{w.id}
	}
	c.mu.Lock()
	who := c.who()
	c.mu.Unlock()
	for _, v := range b.figuresFor(w.filter) {
		name := sysPrefix + v.name
		if !b.mayReceive(who, name) {
			continue
		}
		d := message.Draft{Name: []byte(name), Topic: name, Payload: []byte(v.value), Arrived: t.now}
		t.work.Message(&d, false)
		t.deliver(c, &d, &r)
	}
}

// presence is the content of a presence event.
type presence struct {
	ClientID    string `json:"clientid"`
	UserName    string `json:"username,omitempty"`
	Address     string `json:"ipaddress"`
	Listener    string `json:"listener,omitempty"`
	Version     string `json:"protocol"`
	CleanStart  bool   `json:"clean_start"`
	KeepAlive   uint16 `json:"keepalive"`
	Expiry      uint32 `json:"expiry_interval"`
	Reason      string `json:"reason,omitempty"`
	ConnectedAt int64  `json:"connected_at"` // unix milliseconds
	Time        int64  `json:"ts"`           // unix milliseconds
}

// announce publishes a presence event, if anybody could have subscribed to it.
func (b *Broker) announce(t *Tick, who *Info, event, reason string) {
	if b.sys.subscribers.Load() == 0 {
		return
	}
	body, err := json.Marshal(presence{
		ClientID: who.ClientID, UserName: who.UserName, Address: who.Addr.String(), Listener: who.Listener,
		Version: who.Version.String(), CleanStart: who.CleanStart, KeepAlive: who.KeepAlive, Expiry: who.Expiry,
		Reason: reason, ConnectedAt: who.ConnectedAt, Time: t.now,
	})
	if err != nil {
		return // cannot be: all fields are plain
	}
	b.tell(t, "$SYS/brokers/"+b.o.Node+"/clients/"+level(who.ClientID)+"/"+event, string(body))
}

// announceEnd announces the end of a connection.
func (b *Broker) announceEnd(t *Tick, link Link, reason string) {
	if b.sys.subscribers.Load() > 0 {
		b.announce(t, link.Info(), "disconnected", reason)
	}
}

// level is a client id as one level of a topic name.
func level(id string) string {
	return strings.NewReplacer("/", "%2F", "+", "%2B", "#", "%23").Replace(id)
}
