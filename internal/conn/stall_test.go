package conn

import (
	"testing"

	"github.com/fantail-mqtt/fantail/packet"
)

// Reading goes on after a tick that gathered much, if the socket took it all.
func TestAClientThatReadsIsNotPaused(t *testing.T) {
	w := newWorld(func(o *Options) { o.PendingBytes = 100 })
	defer w.close()
	s := newSock()
	c := s.accept(w.server)
	l := w.broker.NewTick()
	feed := func(b []byte) {
		c.Data(l, b)
		l.End()
	}
	feed(packet.AppendConnect(nil, &packet.Connect{Version: packet.V5, ClientID: "a"}))
	var pings []byte
	for range 1000 {
		pings = packet.AppendPingreq(pings)
	}
	feed(pings)
	if s.paused {
		t.Error("the connection is paused, and nothing will resume it")
	}
	s.full = true
	feed(pings)
	feed(pings)
	if !s.paused {
		t.Error("a client that does not read is not paused")
	}
	s.full = false
	c.Writable(l)
	l.End()
	if s.paused {
		t.Error("the connection stays paused")
	}
}
