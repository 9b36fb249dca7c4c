package conn

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/fantail-mqtt/fantail/internal/loop"
	"github.com/fantail-mqtt/fantail/packet"
)

// seeds are packets that a client sends, of all versions.
func seeds() (list [][]byte) {
	for _, v := range []packet.Version{packet.V31, packet.V311, packet.V5} {
		full := packet.Connect{
			Version: v, ClientID: "a", CleanStart: true, KeepAlive: 10, HasUserName: true, UserName: "u", HasPassword: true, Password: []byte("p"),
			Will: &packet.Will{Topic: "w", Payload: []byte("gone"), QoS: 1, Retain: true, Delay: 5},
		}
		full.SessionExpiry, full.HasSessionExpiry, full.ReceiveMaximum, full.TopicAliasMaximum = 10, true, 2, 3
		proof := packet.Connect{Version: v, ClientID: "a"}
		proof.AuthMethod, proof.HasAuthMethod = "endless", true
		filters := []packet.Subscription{{Filter: "a/#", QoS: 2}, {Filter: "$share/g/+", QoS: 1}, {Filter: "$SYS/#"}}
		list = append(
			list,
			packet.AppendConnect(nil, &packet.Connect{Version: v, CleanStart: true}),
			packet.AppendConnect(nil, &full),
			packet.AppendConnect(nil, &proof),
			packet.AppendSubscribe(nil, &packet.Subscribe{ID: 1, SubscriptionID: 5, Filters: filters}, v),
			packet.AppendUnsubscribe(nil, &packet.Unsubscribe{ID: 2, Filters: []string{"a/#", "b"}}, v),
			packet.AppendDisconnect(nil, &packet.Disconnect{Code: packet.DisconnectWithWill}, v, 0),
		)
		for qos := range byte(3) {
			list = append(list, packet.AppendPublish(nil, &packet.Publish{
				Topic: []byte("a/b"), Payload: []byte("x"), QoS: qos, ID: uint16(qos), Retain: true, Alias: 1, Expiry: 5, HasExpiry: true,
			}, v))
		}
		for _, typ := range []packet.Type{packet.PUBACK, packet.PUBREC, packet.PUBREL, packet.PUBCOMP} {
			list = append(list, packet.AppendAck(nil, typ, &packet.Ack{ID: 1}, v, 0))
		}
	}
	list = append(list, packet.AppendPingreq(nil), packet.AppendAuth(nil, &packet.Auth{
		Code: packet.ContinueAuthentication, Method: "endless", HasMethod: true, Data: []byte("x"), HasData: true,
	}, 0))
	return list
}

// FuzzConn gives bytes to connections, before or after a CONNECT, in pieces.
// Nothing may panic; what is sent is whole packets; and every packet is
// answered, taken or the end.
func FuzzConn(f *testing.F) {
	for i, b := range seeds() {
		f.Add(byte(i), uint16(3), b)
		f.Add(byte(i), uint16(1000), append(append(append([]byte(nil), b...), b...), packet.AppendPingreq(nil)...))
	}
	w := newWorld(func(o *Options) {
		o.Exchange = func(string, net.Addr) (Exchange, error) { return endless{}, nil }
		o.Limits.ConnectTimeout = time.Hour
		o.Limits.Packet = 4 << 10
	})
	f.Cleanup(w.close)
	f.Fuzz(func(t *testing.T, how byte, piece uint16, data []byte) {
		// Another client has subscribed, so that what is published goes somewhere.
		other := w.open(packet.AppendConnect(nil, &packet.Connect{Version: packet.V5, ClientID: "other", CleanStart: true}), how)
		other.feed(packet.AppendSubscribe(nil, &packet.Subscribe{ID: 1, Filters: []packet.Subscription{{Filter: "#", QoS: 2}}}, packet.V5))
		version := []packet.Version{0, packet.V31, packet.V311, packet.V5}[how%4]
		var first []byte
		if version > 0 {
			first = packet.AppendConnect(nil, &packet.Connect{Version: version, ClientID: "fuzz", CleanStart: how&4 > 0})
		}
		c := w.open(first, how)
		size := max(int(piece), 1)
		for rest := data; len(rest) > 0; {
			n := min(size, len(rest))
			c.feed(rest[:n])
			rest = rest[n:]
		}
		for _, each := range []*driven{c, other} {
			each.check(t)
			each.sock.full = false
			each.close()
			each.check(t)
		}
		if n := w.broker.Stats().Connected.Load(); n != 0 {
			t.Fatalf("%d clients are connected after all have gone", n)
		}
	})
}

// driven is a connection that the test drives as a loop would.
type driven struct {
	w    *world
	sock *sock
	conn *Conn
	in   []byte
}

func (w *world) open(first []byte, how byte) *driven {
	d := &driven{w: w, sock: newSock()}
	d.conn = d.sock.accept(w.server)
	d.feed(first)
	d.sock.full = how&8 > 0
	return d
}

// feed gives bytes to the connection as a loop does: again and again what it
// has left.
func (d *driven) feed(b []byte) {
	d.in = append(d.in, b...)
	l := loop.Local(d.w.broker.NewTick())
	if !d.sock.ended && !d.sock.paused && len(d.in) > 0 {
		n := d.conn.Data(l, d.in)
		d.in = d.in[n:]
	}
	l.End()
	d.post()
}

// post runs what was posted.
func (d *driven) post() {
	for len(d.sock.posts) > 0 {
		f := d.sock.posts[0]
		d.sock.posts = d.sock.posts[1:]
		l := loop.Local(d.w.broker.NewTick())
		f(l)
		l.End()
	}
}

func (d *driven) close() {
	if !d.sock.ended {
		l := loop.Local(d.w.broker.NewTick())
		d.conn.Writable(l)
		l.End()
		d.feed(nil)
	}
	l := loop.Local(d.w.broker.NewTick())
	d.conn.Closed(l, io.EOF)
	l.End()
	d.sock.posts = nil
}

// check looks at what was sent, and at what was left.
func (d *driven) check(t *testing.T) {
	t.Helper()
	for rest := d.sock.out; len(rest) > 0; {
		f, n, err := packet.Split(rest, packet.MaxLength)
		if err != nil || n == 0 {
			t.Fatalf("no packet: % x, %v", rest, err)
		}
		if f.Type == packet.CONNACK && len(f.Body) < 2 {
			t.Fatalf("CONNACK % x", f.Body)
		}
		rest = rest[n:]
	}
	if d.sock.ended || d.sock.paused {
		return
	}
	if f, n, err := packet.Split(d.in, int(d.conn.limit)); err != nil || n > 0 {
		t.Fatalf("%v was neither taken nor refused: %v", f.Type, err)
	}
}
