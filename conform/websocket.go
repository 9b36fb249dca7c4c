package conform

import (
	"bufio"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// WebSocket opcodes.
const (
	opContinue byte = 0x0
	opText     byte = 0x1
	opBinary   byte = 0x2
	opClose    byte = 0x8
)

// webSocket is a client connection by RFC 6455, no more of it than the checks
// need. As a net.Conn it writes each piece as one binary frame and reads the
// payloads of the data frames one after the other.
type webSocket struct {
	net.Conn
	in       *bufio.Reader
	protocol string // what the server chose
	raw      []byte // bytes of a frame that has not come fully
	data     []byte // payload not read yet
	lastOp   byte
	closing  bool
}

// upgrade dials, asks for the given subprotocols, and returns the HTTP status.
func (t *T) upgrade(protocols string) (ws *webSocket, status int) {
	u, err := url.Parse(t.opts.WS)
	if err != nil {
		t.failf("WebSocket address: %v", err)
	}
	d := net.Dialer{Timeout: t.opts.Wait}
	conn, err := d.DialContext(t.ctx, "tcp", u.Host)
	if err != nil {
		t.failf("dial %s: %v", u.Host, err)
	}
	t.conns = append(t.conns, &client{t: t, conn: conn})
	key := make([]byte, 16)
	_, _ = rand.Read(key)
	path := u.Path
	if path == "" {
		path = "/"
	}
	request := "GET " + path + " HTTP/1.1\r\nHost: " + u.Host + "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + base64.StdEncoding.EncodeToString(key) + "\r\n"
	if protocols != "" {
		request += "Sec-WebSocket-Protocol: " + protocols + "\r\n"
	}
	_ = conn.SetDeadline(time.Now().Add(t.opts.Wait))
	_, _ = io.WriteString(conn, request+"\r\n")
	in := bufio.NewReader(conn)
	answer, err := http.ReadResponse(in, nil)
	if err != nil {
		t.failf("WebSocket upgrade: %v", err)
	}
	_ = answer.Body.Close() // empty: an upgrade has none
	return &webSocket{Conn: conn, in: in, protocol: answer.Header.Get("Sec-WebSocket-Protocol")}, answer.StatusCode
}

// socket is upgrade for a client that then speaks MQTT.
func (t *T) socket() (*client, *webSocket) {
	ws, status := t.upgrade("mqtt")
	if status != http.StatusSwitchingProtocols {
		t.failf("WebSocket upgrade answered with status %d, expected 101", status)
	}
	return t.adopt(ws), ws
}

// frame sends one frame, masked as a client must.
func (w *webSocket) frame(op byte, final bool, payload []byte) {
	first := op
	if final {
		first |= 0x80
	}
	head := []byte{first}
	switch n := len(payload); {
	case n < 126:
		head = append(head, 0x80|byte(n))
	case n < 1<<16:
		head = binary.BigEndian.AppendUint16(append(head, 0x80|126), uint16(n))
	default:
		head = binary.BigEndian.AppendUint64(append(head, 0x80|127), uint64(n))
	}
	mask := [4]byte{0x5A, 0xC3, 0x0F, 0x99}
	body := make([]byte, len(payload))
	for i, b := range payload {
		body[i] = b ^ mask[i%4]
	}
	_, _ = w.Conn.Write(join(head, mask[:], body))
}

// Write sends b as one binary frame.
func (w *webSocket) Write(b []byte) (int, error) {
	w.frame(opBinary, true, b)
	return len(b), nil
}

// Read returns payload of data frames; a close frame ends the stream.
func (w *webSocket) Read(b []byte) (int, error) {
	for len(w.data) == 0 {
		if w.closing {
			return 0, io.EOF
		}
		if w.parse() {
			continue
		}
		chunk := make([]byte, 4096)
		n, err := w.in.Read(chunk)
		w.raw = append(w.raw, chunk[:n]...)
		if err != nil {
			return 0, err
		}
	}
	n := copy(b, w.data)
	w.data = w.data[n:]
	return n, nil
}

// parse takes one frame off raw and reports whether there was one.
func (w *webSocket) parse() bool {
	if len(w.raw) < 2 {
		return false
	}
	n, at := int(w.raw[1]&0x7F), 2
	switch n {
	case 126:
		at = 4
	case 127:
		at = 10
	}
	if len(w.raw) < at {
		return false
	}
	switch n {
	case 126:
		n = int(binary.BigEndian.Uint16(w.raw[2:]))
	case 127:
		n = int(binary.BigEndian.Uint64(w.raw[2:]))
	}
	if len(w.raw) < at+n {
		return false
	}
	switch op := w.raw[0] & 0x0F; op {
	case opClose:
		w.closing = true
	case opContinue, opText, opBinary:
		if op != opContinue {
			w.lastOp = op
		}
		w.data = append(w.data, w.raw[at:at+n]...)
	}
	w.raw = w.raw[at+n:]
	return true
}
