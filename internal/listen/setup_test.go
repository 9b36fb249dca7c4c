package listen

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"go.uber.org/goleak"

	"github.com/fantail-mqtt/fantail/internal/config"
	"github.com/fantail-mqtt/fantail/internal/loop"
	"github.com/fantail-mqtt/fantail/internal/wheel"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what has to come.
const patience = 20 * time.Second

type ticks struct{}

func newLocal() loop.Local { return ticks{} }

func (ticks) End()              {}
func (ticks) Effort() int       { return 0 }
func (ticks) EndSome(bool) bool { return false }
func (ticks) Calm()             {}

// probe is an upper handler out of functions.
type probe struct {
	conn     loop.Conn
	peer     Peer
	data     func(l loop.Local, b []byte) int // nil: takes all
	writable chan struct{}
	closed   chan error
}

func (p *probe) Data(l loop.Local, b []byte) int {
	if p.data == nil {
		return len(b)
	}
	return p.data(l, b)
}
func (p *probe) Writable(loop.Local)            { p.writable <- struct{}{} }
func (p *probe) Closed(_ loop.Local, err error) { p.closed <- err }

func echo(p *probe) {
	p.data = func(_ loop.Local, b []byte) int {
		p.conn.Write(b)
		return len(b)
	}
}

func receive[T any](t testing.TB, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
	}
	panic("unreachable")
}

// settled runs what is posted to a connection by now.
func settled(t testing.TB, c loop.Conn) {
	t.Helper()
	done := make(chan struct{})
	c.Post(func(loop.Local) { close(done) })
	receive(t, done)
}

// world is a group with its wheel, what uppers and refusals it made, and the
// certificates that its listeners use.
type world struct {
	t       testing.TB
	options Options
	setup   func(*probe)
	probes  chan *probe
	refused chan Refusal
	keys    *keys
}

func newWorld(t testing.TB, kind func(*testing.T, *wheel.Wheel) loop.Group) *world {
	t.Helper()
	tt, _ := t.(*testing.T)
	wh := wheel.New()
	g := kind(tt, wh)
	t.Cleanup(func() {
		g.Close()
		wh.Close()
	})
	w := &world{t: t, probes: make(chan *probe, 10000), refused: make(chan Refusal, 10000)}
	w.options = Options{Group: g, Wheel: wh, Upper: w.upper, Refused: func(r Refusal) { w.refused <- r }}
	return w
}

func (w *world) upper(_ loop.Local, c loop.Conn, p Peer) loop.Handler {
	h := &probe{conn: c, peer: p, writable: make(chan struct{}, 1000), closed: make(chan error, 2)}
	if w.setup != nil {
		w.setup(h)
	}
	w.probes <- h
	return h
}

func (w *world) pki() *keys {
	if w.keys == nil {
		w.keys = newKeys(w.t)
	}
	return w.keys
}

func (w *world) open(c config.Listener) *Listener {
	w.t.Helper()
	if c.Address == "" {
		c.Address = "127.0.0.1:0"
	}
	l, err := Open(w.options, c)
	if err != nil {
		w.t.Fatal(err)
	}
	return l
}

// openAs opens a listener of a scheme, with a certificate where that needs one.
func (w *world) openAs(scheme string) *Listener {
	w.t.Helper()
	c := config.Listener{Scheme: scheme}
	switch scheme {
	case config.SchemeTLS, config.SchemeWSS:
		c.Cert, c.Key = w.pki().cert, w.pki().key
	case config.SchemeUnix:
		c.Address = filepath.Join(w.t.TempDir(), "s")
	}
	return w.open(c)
}

// connect dials the bare socket.
func (w *world) connect(l *Listener) net.Conn {
	w.t.Helper()
	network := "tcp"
	if l.config.Scheme == config.SchemeUnix {
		network = "unix"
	}
	nc, err := net.Dial(network, l.config.Address)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(patience))
	return nc
}

// dial connects as the listener's scheme says.
func (w *world) dial(l *Listener) net.Conn {
	w.t.Helper()
	return w.dialAs(l, l.config.Scheme)
}

func (w *world) dialAs(l *Listener, scheme string) net.Conn {
	w.t.Helper()
	return w.over(w.connect(l), scheme)
}

// over puts a scheme's layers on a connection.
func (w *world) over(nc net.Conn, scheme string) net.Conn {
	w.t.Helper()
	if scheme == config.SchemeTLS || scheme == config.SchemeWSS {
		nc = tls.Client(nc, w.pki().client())
	}
	if scheme == config.SchemeWS || scheme == config.SchemeWSS {
		return w.upgrade(nc, "mqtt")
	}
	return nc
}

func (w *world) upgrade(nc net.Conn, subprotocols ...string) *frameConn {
	w.t.Helper()
	d := ws.Dialer{Protocols: subprotocols}
	br, hs, err := d.Upgrade(nc, mustURL("ws://localhost/mqtt"))
	if err != nil {
		w.t.Fatal(err)
	}
	if len(subprotocols) > 0 && hs.Protocol != subprotocols[0] {
		w.t.Errorf("subprotocol %q", hs.Protocol)
	}
	if br == nil {
		br = bufio.NewReader(nc)
	}
	return &frameConn{Conn: nc, br: br}
}

// frameConn is the client's side of a WebSocket as a stream: each Write is one
// masked binary frame.
type frameConn struct {
	net.Conn
	br   *bufio.Reader
	left int64
	code ws.StatusCode // of the close frame
}

func (c *frameConn) Write(b []byte) (int, error) {
	f := ws.MaskFrame(ws.NewBinaryFrame(b))
	if _, err := c.Conn.Write(ws.MustCompileFrame(f)); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (c *frameConn) Read(b []byte) (int, error) {
	for c.left == 0 {
		h, err := ws.ReadHeader(c.br)
		if err != nil {
			return 0, err
		}
		switch h.OpCode {
		case ws.OpBinary:
			c.left = h.Length
		case ws.OpClose:
			body := make([]byte, h.Length)
			if _, err := io.ReadFull(c.br, body); err != nil {
				return 0, err
			}
			c.code, _ = ws.ParseCloseFrameData(body)
			return 0, io.EOF
		default:
			return 0, fmt.Errorf("a frame with opcode %d", h.OpCode)
		}
	}
	n, err := c.br.Read(b[:min(int64(len(b)), c.left)])
	c.left -= int64(n)
	return n, err
}

// frame reads one frame of any kind.
func (c *frameConn) frame(t *testing.T) (ws.OpCode, string) {
	t.Helper()
	h, err := ws.ReadHeader(c.br)
	if err != nil {
		t.Fatal(err)
	}
	body := make([]byte, h.Length)
	if _, err := io.ReadFull(c.br, body); err != nil {
		t.Fatal(err)
	}
	return h.OpCode, string(body)
}

// each runs a test over every kind of group.
func each(t *testing.T, test func(t *testing.T, w *world)) {
	for name, kind := range kinds() {
		t.Run(name, func(t *testing.T) { test(t, newWorld(t, kind)) })
	}
}

// eachScheme runs a test over every kind of group and of listener.
func eachScheme(t *testing.T, test func(t *testing.T, w *world, scheme string)) {
	for name, kind := range kinds() {
		for _, scheme := range []string{config.SchemeTCP, config.SchemeTLS, config.SchemeWS, config.SchemeWSS, config.SchemeUnix} {
			t.Run(name+"/"+scheme, func(t *testing.T) { test(t, newWorld(t, kind), scheme) })
		}
	}
}

// keys are a CA, and a server's certificate in files.
type keys struct {
	t         testing.TB
	dir       string
	ca        *x509.Certificate
	caKey     *ecdsa.PrivateKey
	pool      *x509.CertPool
	caFile    string
	cert, key string
	serial    atomic.Int64
}

func newKeys(t testing.TB) *keys {
	t.Helper()
	k := &keys{t: t, dir: t.TempDir()}
	k.caFile, k.cert, k.key = filepath.Join(k.dir, "ca.pem"), filepath.Join(k.dir, "cert.pem"), filepath.Join(k.dir, "key.pem")
	k.newCA()
	k.renew("first")
	return k
}

// newCA makes a CA and forgets the old one.
func (k *keys) newCA() {
	k.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		k.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(k.serial.Add(1)), Subject: pkix.Name{CommonName: fmt.Sprint("ca ", k.serial.Load())},
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		k.t.Fatal(err)
	}
	k.caKey = key
	if k.ca, err = x509.ParseCertificate(der); err != nil {
		k.t.Fatal(err)
	}
	k.pool = x509.NewCertPool()
	k.pool.AddCert(k.ca)
	k.write(k.caFile, "CERTIFICATE", der)
}

// issue makes a certificate of the CA.
func (k *keys) issue(name string) (der []byte, key *ecdsa.PrivateKey) {
	k.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		k.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(k.serial.Add(1)), Subject: pkix.Name{CommonName: name},
		NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err = x509.CreateCertificate(rand.Reader, template, k.ca, &key.PublicKey, k.caKey)
	if err != nil {
		k.t.Fatal(err)
	}
	return der, key
}

// renew writes a new server certificate.
func (k *keys) renew(name string) {
	k.t.Helper()
	der, key := k.issue(name)
	k.write(k.cert, "CERTIFICATE", der)
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		k.t.Fatal(err)
	}
	k.write(k.key, "EC PRIVATE KEY", keyDER)
}

func (k *keys) write(file, kind string, der []byte) {
	k.t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		k.t.Fatal(err)
	}
}

// client is how a client trusts the CA.
func (k *keys) client() *tls.Config {
	return &tls.Config{RootCAs: k.pool, ServerName: "localhost", NextProtos: []string{"mqtt"}}
}

// clientWith has a certificate, too.
func (k *keys) clientWith(name string) *tls.Config {
	c := k.client()
	der, key := k.issue(name)
	c.Certificates = []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}
	return c
}

// wantRefusal waits for a refusal and checks it.
func (w *world) wantRefusal(reason string, words ...string) Refusal {
	w.t.Helper()
	r := receive(w.t, w.refused)
	if r.Reason != reason {
		w.t.Errorf("refused for %s (%s), want %s", r.Reason, r.Detail, reason)
	}
	if r.Addr == nil || r.Listener == "" {
		w.t.Errorf("a refusal of nobody: %+v", r)
	}
	for _, word := range words {
		if !strings.Contains(r.Detail, word) {
			w.t.Errorf("detail %q does not say %q", r.Detail, word)
		}
	}
	return r
}

// isTimeout says whether a test's patience ended.
func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// reload takes over what is in the listener's files.
func reload(l *Listener) error {
	commit, err := l.Prepare()
	if err == nil {
		commit()
	}
	return err
}
