package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"
)

// wsConn carries a byte stream in the binary frames of a WebSocket
// [MQTT-6.0.0-1]. MQTT packets need not align with frames [MQTT-6.0.0-2].
type wsConn struct {
	net.Conn

	// Owned by Read.
	r      *bufio.Reader
	left   int64 // bytes of the data frame that are still to come
	mask   [4]byte
	masked bool
	offset int
	err    error // comes with the next Read

	// pong is the answer to the latest ping that nobody has sent yet. Read
	// leaves it to a Write that is under way rather than wait for it: a client
	// that stops reading to write can lock up with a server that does the same.
	pong atomic.Pointer[[]byte]

	mu    sync.Mutex // guards frame and is held while it is written
	frame bytes.Buffer
}

// upgrade asks for a WebSocket with the subprotocol mqtt [MQTT-6.0.0-3].
func upgrade(ctx context.Context, conn net.Conn, address string) (net.Conn, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	status := 0
	d := ws.Dialer{
		Protocols:     []string{"mqtt"},
		OnStatusError: func(code int, _ []byte, _ io.Reader) { status = code },
	}
	r, shake, err := d.Upgrade(conn, u)
	if !stop() {
		return nil, fmt.Errorf("WebSocket: %w", ctx.Err())
	}
	if status != 0 {
		return nil, fmt.Errorf("WebSocket: the server answered %s with HTTP status %d", u.Path, status)
	}
	if err != nil {
		return nil, fmt.Errorf("WebSocket: %w", err)
	}
	if shake.Protocol != "mqtt" {
		return nil, errors.New("WebSocket: the server does not speak the subprotocol mqtt")
	}
	if r == nil {
		r = bufio.NewReader(conn)
	}
	return &wsConn{Conn: conn, r: r}, nil
}

// Read also takes the frames behind the first that have arrived already: many
// servers send each packet in a frame of its own.
func (c *wsConn) Read(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.read(p)
	for err == nil && n < len(p) {
		for err == nil && c.left == 0 && c.r.Buffered() >= ws.MaxHeaderSize {
			err = c.header()
		}
		if err != nil || c.left == 0 || c.r.Buffered() == 0 {
			break // more would have to be waited for
		}
		var more int
		more, err = c.read(p[n:])
		n += more
	}
	if n > 0 {
		c.err, err = err, nil
	}
	return n, err
}

// read takes from one frame.
func (c *wsConn) read(p []byte) (int, error) {
	for c.left == 0 {
		if err := c.header(); err != nil {
			return 0, err
		}
	}
	n, err := c.r.Read(p[:min(int64(len(p)), c.left)])
	if c.masked {
		ws.Cipher(p[:n], c.mask, c.offset)
	}
	c.offset += n
	c.left -= int64(n)
	return n, err
}

// header reads the next frame's header, and all of a control frame.
func (c *wsConn) header() error {
	h, err := ws.ReadHeader(c.r)
	if err != nil {
		return err
	}
	if h.OpCode.IsControl() {
		return c.control(h)
	}
	if h.OpCode == ws.OpText || h.OpCode.IsReserved() {
		return fmt.Errorf("WebSocket: frame of type %d is not binary", h.OpCode)
	}
	c.left, c.mask, c.masked, c.offset = h.Length, h.Mask, h.Masked, 0
	return nil
}

func (c *wsConn) control(h ws.Header) error {
	if h.Length > ws.MaxControlFramePayloadSize {
		return errors.New("WebSocket: control frame is too long")
	}
	payload := make([]byte, h.Length)
	if _, err := io.ReadFull(c.r, payload); err != nil {
		return err
	}
	if h.Masked {
		ws.Cipher(payload, h.Mask, 0)
	}
	switch h.OpCode {
	case ws.OpClose:
		if len(payload) >= 2 {
			if code := binary.BigEndian.Uint16(payload); code != uint16(ws.StatusNormalClosure) {
				return fmt.Errorf("WebSocket: the server closed it with status %d: %w", code, io.EOF)
			}
		}
		return io.EOF
	case ws.OpPing:
		c.pong.Store(&payload)
		c.flushPong()
	default: // a pong that nobody asked for
	}
	return nil
}

// flushPong sends the pong that waits, unless someone is writing: they will.
func (c *wsConn) flushPong() {
	for c.pong.Load() != nil && c.mu.TryLock() {
		if p := c.pong.Swap(nil); p != nil {
			_ = c.writeFrame(ws.OpPong, *p) // its error comes again with the next read or write
		}
		c.mu.Unlock()
	}
}

func (c *wsConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	err := c.writeFrame(ws.OpBinary, p)
	c.mu.Unlock()
	if err != nil {
		return 0, err
	}
	c.flushPong()
	return len(p), nil
}

// writeFrame writes one masked frame; mu is held.
func (c *wsConn) writeFrame(op ws.OpCode, p []byte) error {
	h := ws.Header{Fin: true, OpCode: op, Masked: true, Mask: ws.NewMask(), Length: int64(len(p))}
	c.frame.Reset()
	if err := ws.WriteHeader(&c.frame, h); err != nil {
		return err
	}
	start := c.frame.Len()
	c.frame.Write(p)
	ws.Cipher(c.frame.Bytes()[start:], h.Mask, 0)
	_, err := c.Conn.Write(c.frame.Bytes())
	return err
}
