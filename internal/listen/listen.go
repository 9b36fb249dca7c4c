// Package listen accepts connections and brings each to the point where it
// speaks MQTT.
//
// A connection begins with a greeter as its handler. The greeter takes the
// client's address out of a PROXY header where one is due, and then goes by the
// first bytes: a CONNECT packet makes the upper handler take its place, a TLS
// hello or a WebSocket request puts a layer between. A layer is the
// [loop.Handler] of what is below it and the [loop.Conn] of what is above, so
// after the TLS layer is up the greeter greets again, inside it. Whatever is
// something else is refused by name. One deadline runs from the first byte to
// the upper handler, and each connection ends in exactly one of two calls:
// Options.Upper or Options.Refused.
//
// Once greeted, a plain connection has nothing of this package in its path.
package listen

import (
	"cmp"
	"crypto/tls"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"time"

	"github.com/fantail-mqtt/fantail/internal/config"
	"github.com/fantail-mqtt/fantail/internal/limit"
	"github.com/fantail-mqtt/fantail/internal/loop"
	"github.com/fantail-mqtt/fantail/internal/wheel"
)

// Transports of a Peer.
const (
	TransportTCP  = "tcp"
	TransportTLS  = "tls"
	TransportWS   = "ws"
	TransportWSS  = "wss"
	TransportUnix = "unix"
)

// Peer is who is at the other end.
type Peer struct {
	Addr      net.Addr             // the client's, from the PROXY header if there is one
	Transport string               // TransportTCP and so on
	Listener  string               // URL of the listener
	TLS       *tls.ConnectionState // nil without TLS
	Vouched   *Vouched             // the client's certificate, if it can be revoked; else nil
	// Origin is the web page that a browser opened the WebSocket for. A browser
	// on this machine comes from loopback for any page of the world.
	Origin string

	// Pass is the connection as Options.Guard counts it, which has to be given
	// back; nil: there is none. Due is when the client has to be let in at the
	// latest, in unix milliseconds.
	Pass *limit.Pass
	Due  int64
	// Refused says that the client may not come in, and only hears why.
	Refused *limit.Refusal
}

// Guard decides about connections before anything of them is read.
type Guard interface {
	// Enter is asked when a connection was accepted. Its address is invalid where
	// there is none, and where a PROXY header will tell it. What has to wait is not
	// read; what is refused hears so when it says CONNECT. It is called on the
	// connection's loop.
	Enter(h limit.Holder, listener string, a netip.Addr, descriptor int) (p *limit.Pass, wait time.Duration, no *limit.Refusal)
	// Come is asked when a PROXY header has told the address.
	Come(p *limit.Pass, a netip.Addr) (wait time.Duration, no *limit.Refusal)
	// Leave gives a pass back.
	Leave(p *limit.Pass)
}

// Upper makes the handler of a connection whose next bytes are a CONNECT
// packet. It is called on the connection's loop.
type Upper func(l loop.Local, c loop.Conn, p Peer) loop.Handler

// Options of all listeners.
type Options struct {
	Group loop.Group
	Wheel *wheel.Wheel
	Upper Upper
	// Refused hears of each connection that ended before Upper, but for those
	// that the group's Close dropped. It is called on any goroutine.
	Refused func(Refusal)
	// Guard may be nil.
	Guard Guard
	// FirstPacket is how long a connection may take until its CONNECT packet
	// begins, with all that comes before. 0: DefaultFirstPacket.
	FirstPacket time.Duration
	// MaxUpgrade is the largest HTTP request in bytes. 0: DefaultMaxUpgrade.
	MaxUpgrade int
}

// Defaults of Options.
const (
	DefaultFirstPacket = 10 * time.Second
	DefaultMaxUpgrade  = 8 << 10
)

func (o Options) withDefaults() Options {
	o.FirstPacket = cmp.Or(o.FirstPacket, DefaultFirstPacket)
	o.MaxUpgrade = cmp.Or(o.MaxUpgrade, DefaultMaxUpgrade)
	if o.Refused == nil {
		o.Refused = func(Refusal) {}
	}
	return o
}

// Listener is an address that is served.
type Listener struct {
	options Options
	config  config.Listener // with the real address
	url     string
	stop    func()
	certs   *certificates // nil without TLS
	// handshakes has a place for each handshake that may compute now.
	handshakes chan struct{}
	buffers    *buffers
}

// Open binds and serves. Its error is one sentence with what to do.
func Open(o Options, c config.Listener) (*Listener, error) {
	l := &Listener{
		options:    o.withDefaults(),
		config:     c,
		handshakes: make(chan struct{}, 4*runtime.NumCPU()),
		buffers:    newBuffers(),
	}
	if c.Cert != "" {
		certs, err := loadCertificates(c)
		if err != nil {
			return nil, err
		}
		l.certs = certs
	}
	ln, err := bind(c)
	if err != nil {
		return nil, err
	}
	l.config.Address = realAddress(c, ln.Addr())
	l.url = l.config.URL()
	l.stop, err = o.Group.Serve(ln, l.accept)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// Addr is the listener's URL with the port that is really bound.
func (l *Listener) Addr() string { return l.url }

// Config is what it was opened with, with the real address.
func (l *Listener) Config() config.Listener { return l.config }

// Close stops accepting; it may not be called on a loop. Connections stay.
func (l *Listener) Close() { l.stop() }

// Prepare reads the certificate, its key, the client CAs and their revocation
// lists anew, for the connections to come. The caller commits what was read, or
// drops it.
func (l *Listener) Prepare() (commit func(), err error) {
	if l.certs == nil {
		return func() {}, nil
	}
	return l.certs.prepare()
}

// secureOnly says that whatever comes has to be inside TLS.
func (l *Listener) secureOnly() bool {
	return l.config.Scheme == config.SchemeTLS || l.config.Scheme == config.SchemeWSS
}

// serves says whether a WebSocket may ask for path.
func (l *Listener) serves(path string) bool {
	if l.config.Path != "" && l.config.Path != "/" {
		return path == l.config.Path
	}
	return path == "/mqtt" || path == "/"
}

// speaks names the listener to a person whose client got it wrong.
func (l *Listener) speaks() string {
	path := l.config.Path
	if path == "" || path == "/" {
		path = "/mqtt"
	}
	what := "MQTT, plain or over WebSocket at " + path
	switch {
	case l.secureOnly():
		return strings.Replace(what, "plain or", "over TLS, or", 1)
	case l.certs != nil:
		return what + ", each also over TLS"
	}
	return what
}

func (l *Listener) accept(local loop.Local, c loop.Conn) loop.Handler {
	g := &greeter{listener: l, raw: c, conn: c, awaitsProxy: l.config.ProxyProtocol}
	g.peer = Peer{Addr: l.clientAddr(c), Transport: TransportTCP, Listener: l.url}
	if l.config.Scheme == config.SchemeUnix {
		g.peer.Transport = TransportUnix
	}
	g.start()
	g.enter()
	return g
}

// clientAddr is the peer's address. A unix socket's peer mostly has none:
// then the listener's says more.
func (l *Listener) clientAddr(c loop.Conn) net.Addr {
	if l.config.Scheme == config.SchemeUnix {
		return &net.UnixAddr{Name: l.config.Address, Net: "unix"}
	}
	return c.RemoteAddr()
}
