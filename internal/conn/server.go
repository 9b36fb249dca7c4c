// Package conn is one connection: bytes come in, are cut into packets, go to
// the broker, and the answers go out.
//
// A [Conn] is the handler of a loop's connection and the broker's link to a
// client. Until its CONNECT is accepted it writes its answers itself; from then
// on everything that it sends is the client's, in the order that the broker
// says. All its methods run on its loop, but for those of broker.Link.
package conn

import (
	"context"
	"log/slog"
	"net"
	"reflect"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/internal/broker"
	"github.com/fantail-mqtt/fantail/internal/limit"
	"github.com/fantail-mqtt/fantail/internal/loop"
	"github.com/fantail-mqtt/fantail/internal/wheel"
)

type (
	// Request is what a client says of itself in CONNECT.
	Request = access.Request
	// Peer is the other end of a connection.
	Peer = access.Peer
)

// Authenticator decides who may connect. It may take its time: it is asked on
// a goroutine of its own.
type Authenticator interface {
	// Authenticate lets the client in, with what there is to know of it (nil:
	// nothing), or says why not: a *packet.Refusal is what the client hears,
	// anything else is "not authorized".
	Authenticate(ctx context.Context, r *Request) (*access.Grant, error)
}

// Exchange is one run of an enhanced authentication (5.0, section 4.12).
type Exchange interface {
	// Step takes in what the client sent and returns what to answer, and
	// whether that ends the exchange successfully.
	Step(data []byte) (reply []byte, done bool, err error)
	// UserName and Grant are those of the client, once that is so.
	UserName() string
	Grant() *access.Grant
}

// Limits are those of connections.
type Limits struct {
	Packet           int           // bytes
	ConnectPacket    int           // the same before the client is let in; 0: Packet
	ConnectTimeout   time.Duration // for a CONNECT to arrive and be decided
	KeepAliveMax     uint16        // seconds; 0: what the client asks for
	ClientID         int           // bytes; 0: no bound
	SessionExpiryMax uint32        // seconds; 0: no cap
	Connections      int64         // 0: no bound

	// Messages and Bytes are how much may come from a client in a second; 0: no
	// bound.
	Messages, Bytes limit.Rate
	WithoutQoS2     bool // clients publish at QoS 1 at most
	WithoutQoS1     bool // and at QoS 0 alone
	WithoutRetain   bool
	// MessageExpiryMax caps the expiry interval of messages, and RetainedExpiry that
	// of retained ones, in seconds; 0: no cap.
	MessageExpiryMax, RetainedExpiry uint32
	// ReceiveMaximum and TopicAliasMaximum take the place of those in Options; 0:
	// they do not. Client is the rest of what holds for the client; nil: that of
	// all.
	ReceiveMaximum    uint16
	TopicAliasMaximum uint16
	Client            *broker.Limits
	// Sets are limits that hold for some clients in place of these.
	Sets map[string]*Limits
}

// Options of a server.
type Options struct {
	Broker        *broker.Broker
	Wheel         *wheel.Wheel
	Logger        *slog.Logger
	Authenticator Authenticator
	// Quick decides at once, on the loop, what needs no Authenticator; nil:
	// nothing does. It must not wait, nor keep r.
	Quick func(r *Request) (decided bool, g *access.Grant, err error)
	// Exchange begins an enhanced authentication of a client at an address; nil: there
	// is none.
	Exchange func(method string, from net.Addr) (Exchange, error)
	Limits   Limits
	// Users counts what clients of one user do together; nil: nobody counts.
	Users *limit.Users
	// Arriving is asked about a client before it is authenticated, and Arrived once
	// it is known who it is; both may be nil. An error is why it may not come in.
	// They are called on the loop, and must not wait.
	Arriving, Arrived func(clientID, userName string, addr net.Addr) error

	ReceiveMaximum    uint16
	TopicAliasMaximum uint16
	PendingBytes      int
	ServerReference   string
	ResponseInfo      string
}

// Server makes connections out of streams.
type Server struct {
	o      Options
	limits atomic.Pointer[Limits]
	seat   chan struct{} // one for each authentication that works, and does not only wait
	ctx    context.Context
	stop   context.CancelFunc
	done   sync.WaitGroup // authentications
	start  int64          // unix milliseconds

	requests sync.Pool // *Request, for Quick

	leaving atomic.Int64 // connections that were kicked and are not closed yet

	mu    sync.Mutex // guards doors
	doors map[doorway]*door
}

// door is what all connections through a listener have in common.
type door struct {
	server *Server
	doorway
}

type doorway struct {
	listener  string
	transport string
}

// door is that of a peer, of which there are a few for each listener.
func (s *Server) door(p *Peer) *door {
	at := doorway{listener: p.Listener, transport: p.Transport}
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.doors[at]
	if d == nil {
		d = &door{server: s, doorway: at}
		s.doors[at] = d
	}
	return d
}

// NewServer makes a server; Close ends what it started.
func NewServer(o Options) *Server {
	seat := make(chan struct{}, 4*runtime.NumCPU())
	ctx, stop := context.WithCancel(access.WithSeats(context.Background(), seat))
	s := &Server{o: o, seat: seat, ctx: ctx, stop: stop, start: time.Now().UnixMilli(), doors: map[doorway]*door{}}
	s.requests.New = func() any { return new(Request) }
	s.SetLimits(o.Limits)
	return s
}

// Close gives up authentications under way. No connection may begin one any
// more: the loops have ended.
func (s *Server) Close() {
	s.stop()
	s.done.Wait()
}

// Leaving is how many connections still write what they were kicked with, or
// wait for the peer to end its side.
func (s *Server) Leaving() int64 { return s.leaving.Load() }

// SetLimits replaces the limits, for connections to come.
func (s *Server) SetLimits(l Limits) { s.limits.Store(&l) }

// Accept makes the handler of a new connection.
func (s *Server) Accept(sock loop.Conn, peer Peer) loop.Handler {
	return s.AcceptAs(sock, peer, Entry{})
}

// Entry is how a connection was let in so far.
type Entry struct {
	Pass    *limit.Pass    // to be given back; may be nil
	Due     int64          // when it has to be a client's, in unix milliseconds; 0: after ConnectTimeout
	Refused *limit.Refusal // it only hears why not
}

// AcceptAs makes the handler of a new connection that comes with an entry.
func (s *Server) AcceptAs(sock loop.Conn, peer Peer, e Entry) loop.Handler {
	limits := s.limits.Load()
	c := &Conn{door: s.door(&peer), sock: sock, limit: uint32(limits.Packet)}
	if n := limits.ConnectPacket; n > 0 {
		c.limit = min(c.limit, uint32(n))
	}
	c.arrival = &arrival{conn: c, pass: e.Pass, refused: e.Refused}
	e.Pass.Hold(c.arrival)
	if !same(peer.Addr, sock.RemoteAddr()) {
		c.more().addr = peer.Addr
	}
	if peer.Origin != "" || peer.Certificate != nil {
		c.more().origin, c.extra.certificate = peer.Origin, peer.Certificate
	}
	if peer.Voucher != nil {
		c.more().voucher = peer.Voucher
	}
	due := e.Due
	if due == 0 {
		due = time.Now().Add(limits.ConnectTimeout).UnixMilli()
	}
	s.o.Wheel.Set(c.arrival, due)
	return c
}

// same says whether two addresses are one and the same value. An address of a
// type that cannot be compared never is.
func same(a, b net.Addr) bool { return a != nil && reflect.TypeOf(a).Comparable() && a == b }
