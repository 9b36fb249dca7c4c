package loop

import (
	"net"
	"testing"

	"github.com/fantail-mqtt/fantail/internal/wheel"
)

// BenchmarkRoundTrip sends a byte through a loop and back over TCP: two writes, two
// reads and two waits, ours and the other side's.
func BenchmarkRoundTrip(b *testing.B) {
	w := wheel.New()
	defer w.Close()
	g, err := NewEpoll(Options{Loops: 1, Local: newLocal}, w)
	if err != nil {
		b.Fatal(err)
	}
	defer g.Close()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	addr := ln.Addr().String()
	if _, err := g.Serve(ln, func(_ Local, c Conn) Handler {
		p := newProbe(c)
		echo(p)
		return p
	}); err != nil {
		b.Fatal(err)
	}
	c, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	one := make([]byte, 1)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(one); err != nil {
			b.Fatal(err)
		}
		if _, err := c.Read(one); err != nil {
			b.Fatal(err)
		}
	}
}
