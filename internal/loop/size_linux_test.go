package loop

import (
	"net"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/fantail-mqtt/fantail/internal/wheel"
)

// An idle connection is as large as it was made to be.
func TestIdleIsSmall(t *testing.T) {
	if n := unsafe.Sizeof(econn{}); n > 80 {
		t.Errorf("a connection takes %d bytes: what only a busy one has belongs into outbox", n)
	}
}

// Small messages leave at once: a connection has TCP_NODELAY from its listener.
func TestAcceptedWithoutDelay(t *testing.T) {
	w := wheel.New()
	defer w.Close()
	g, err := NewEpoll(Options{Loops: 1, Local: newLocal}, w)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	s := serve(t, g, "tcp", nil)
	nc, err := net.Dial("tcp", s.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	c, _ := receive(t, s.probes).conn.(*econn)
	c.mu.Lock()
	defer c.mu.Unlock()
	if on, err := unix.GetsockoptInt(int(c.fd), unix.IPPROTO_TCP, unix.TCP_NODELAY); err != nil || on == 0 {
		t.Errorf("TCP_NODELAY is %d, %v", on, err)
	}
}
