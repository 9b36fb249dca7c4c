package listen

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/gobwas/ws"

	"github.com/fantail-mqtt/fantail/internal/config"
)

func TestHalfARequestIsWaitedFor(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.setup = echo
		nc := w.connect(w.openAs(config.SchemeTCP))
		request := get + ask + "Sec-WebSocket-Protocol: mqttv3.1, mqtt\r\nOrigin: http://page.example\r\n\r\n"
		for i := range request {
			if _, err := io.WriteString(nc, request[i:i+1]); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := nc.Write(ws.MustCompileFrame(ws.MaskFrame(ws.NewBinaryFrame([]byte{connectByte})))); err != nil {
			t.Fatal(err)
		}
		p := receive(t, w.probes)
		if p.peer.Transport != TransportWS || p.peer.Origin != "http://page.example" {
			t.Errorf("peer %+v", p.peer)
		}
		answer := make([]byte, 1000)
		n, err := nc.Read(answer)
		if err != nil || !bytes.Contains(answer[:n], []byte("Sec-WebSocket-Protocol: mqtt\r\n")) {
			t.Errorf("answer %q, %v", answer[:n], err)
		}
	})
}

func TestSubprotocols(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		l := w.openAs(config.SchemeWS)
		for _, offers := range [][]string{nil, {"mqtt"}, {"mqttv3.1"}, {"mqtt", "chat"}} {
			nc := w.upgrade(w.connect(l), offers...)
			_, _ = nc.Write([]byte{connectByte})
			receive(t, w.probes)
		}
	})
}

func TestWebSocketMistakes(t *testing.T) {
	raw := func(text string) []byte {
		b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
		if err != nil {
			panic(err)
		}
		return b
	}
	cases := map[string]struct {
		sent []byte
		code ws.StatusCode
	}{
		"a text frame [MQTT-6.0.0-1]":     {ws.MustCompileFrame(ws.MaskFrame(ws.NewTextFrame([]byte("x")))), ws.StatusUnsupportedData},
		"an unmasked frame":               {raw("82 01 10"), ws.StatusProtocolError},
		"a reserved bit":                  {raw("c2 81 00000000 10"), ws.StatusProtocolError},
		"a reserved opcode":               {raw("83 81 00000000 10"), ws.StatusProtocolError},
		"a continuation of nothing":       {raw("80 81 00000000 10"), ws.StatusProtocolError},
		"a new message inside one":        {raw("02 80 00000000 82 80 00000000"), ws.StatusProtocolError},
		"a fragmented ping":               {raw("09 80 00000000"), ws.StatusProtocolError},
		"a long ping":                     {raw("89 fe 007e 00000000"), ws.StatusProtocolError},
		"a frame longer than any packet":  {raw("82 ff 0000000010000005 00000000"), ws.StatusMessageTooBig},
		"a length with its first bit set": {raw("82 ff 8000000000000001 00000000"), ws.StatusMessageTooBig},
		"a close with half a code":        {raw("88 81 00000000 03"), ws.StatusProtocolError},
		"a close with a code for nobody":  {raw("88 82 00000000 03ed"), ws.StatusProtocolError},
		"a close with its reason":         {ws.MustCompileFrame(ws.MaskFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusGoingAway, "bye")))), ws.StatusGoingAway},
		"a close without a code":          {raw("88 80 00000000"), ws.StatusNormalClosure},
	}
	each(t, func(t *testing.T, w *world) {
		l := w.openAs(config.SchemeWS)
		for name, c := range cases {
			t.Run(name, func(t *testing.T) {
				w.t = t
				nc, p := w.begin(l)
				f, _ := nc.(*frameConn)
				for i := range c.sent { // a byte at a time
					if _, err := f.Conn.Write(c.sent[i : i+1]); err != nil {
						break
					}
				}
				if _, err := io.ReadAll(f); err != nil {
					t.Error(err)
				}
				if f.code != c.code {
					t.Errorf("closed with %d, want %d", f.code, c.code)
				}
				_ = nc.Close()
				var fault *Fault
				err := receive(t, p.closed)
				wantFault := !strings.HasPrefix(name, "a close with its") && !strings.HasPrefix(name, "a close without")
				if errors.As(err, &fault) != wantFault || !wantFault && !errors.Is(err, io.EOF) {
					t.Errorf("closed with %v", err)
				}
			})
		}
	})
}

func TestPingsAreAnsweredBetweenFragments(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.setup = echo
		nc, _ := w.begin(w.openAs(config.SchemeWS))
		f, _ := nc.(*frameConn)
		var sent bytes.Buffer
		for _, frame := range []ws.Frame{
			ws.NewFrame(ws.OpBinary, false, []byte("a")),
			ws.NewPingFrame([]byte("are you there")),
			ws.NewFrame(ws.OpContinuation, false, nil),
			ws.NewPongFrame([]byte("unasked")),
			ws.NewFrame(ws.OpContinuation, true, []byte("b")),
		} {
			sent.Write(ws.MustCompileFrame(ws.MaskFrame(frame)))
		}
		if _, err := f.Conn.Write(sent.Bytes()); err != nil {
			t.Fatal(err)
		}
		data, pongs := "", ""
		for len(data) < 3 || pongs == "" {
			op, body := f.frame(t)
			if op == ws.OpPong {
				pongs += body
			} else {
				data += body
			}
		}
		if data != "\x10ab" || pongs != "are you there" {
			t.Errorf("data %q, pongs %q", data, pongs)
		}
	})
}

func TestAFloodOfPingsIsNotKept(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		nc, p := w.begin(w.openAs(config.SchemeWS))
		settled(t, p.conn)
		p.conn.Write(publish(16 << 20)) // the socket is full
		f, _ := nc.(*frameConn)
		ping := ws.MustCompileFrame(ws.MaskFrame(ws.NewPingFrame(make([]byte, 125))))
		const pings = 10_000
		for range pings {
			if _, err := f.Conn.Write(ping); err != nil {
				t.Fatal(err)
			}
		}
		last := ws.MustCompileFrame(ws.MaskFrame(ws.NewPingFrame([]byte("last"))))
		if _, err := f.Conn.Write(last); err != nil {
			t.Fatal(err)
		}
		pongs := 0
		for {
			op, body := f.frame(t)
			if op != ws.OpPong {
				continue
			}
			pongs++
			if body == "last" {
				break
			}
		}
		if pongs > pings/10 {
			t.Errorf("%d pongs were kept", pongs)
		}
	})
}
