package packet_test

import (
	"bytes"
	"testing"

	"github.com/fantail-mqtt/fantail/packet"
)

// The packets of the hot path, encoded once.
func publishPlain() []byte {
	return packet.AppendPublish(nil, &packet.Publish{QoS: 1, ID: 9, Topic: []byte("plant/1/temp"), Payload: []byte("21.5")}, packet.V5)
}

// publishTogether has properties of which the forwarded ones are neighbours.
func publishTogether() []byte {
	return packet.AppendPublish(nil, &packet.Publish{
		QoS: 1, ID: 9, Topic: []byte("plant/1/temp"), Payload: []byte("21.5"), Alias: 3, Expiry: 60, HasExpiry: true,
		Forward: packet.AppendForward(nil, &packet.ForwardProperties{
			ContentType: "text/plain", User: []packet.UserProperty{{Key: "k", Value: "v"}},
		}),
	}, packet.V5)
}

// publishApart has another property between the forwarded ones.
func publishApart() []byte {
	return pkt(0x32, "plant/1/temp", 0, 9, props(0x03, "t", 0x23, 0, 3, 0x26, "k", "v"), []byte("21.5"))
}

func TestHotFunctionsDoNotAllocate(t *testing.T) {
	plain, together := publishPlain(), publishTogether()
	ack := packet.AppendAck(nil, packet.PUBACK, &packet.Ack{ID: 9}, packet.V5, 0)
	coded := packet.AppendAck(nil, packet.PUBREC, &packet.Ack{ID: 9, Code: packet.NoMatchingSubscribers}, packet.V5, 0)
	p := packet.Publish{SubscriptionIDs: make([]uint32, 0, 4)}
	out := packet.Publish{QoS: 2, ID: 7, Topic: []byte("t"), Payload: make([]byte, 100), Alias: 1, Expiry: 9, HasExpiry: true, SubscriptionIDs: []uint32{1, 300}}
	room, zeros := make([]byte, 0, 512), make([]byte, 2)
	fromServer := packet.AppendPublish(nil, &out, packet.V5)
	mustParse := func(b []byte, from packet.Dir) {
		f, n, err := packet.Split(b, 1<<20)
		if n != len(b) || err != nil {
			t.Fatal(n, err)
		}
		if err := packet.ParsePublish(&p, f.Flags, f.Body, packet.V5, from); err != nil {
			t.Fatal(err)
		}
	}
	mustAck := func(b []byte) {
		if _, err := packet.ParseAck(packet.PUBREC, b[2:], packet.V5); err != nil {
			t.Fatal(err)
		}
	}
	tests := map[string]func(){
		"Split and ParsePublish without properties":            func() { mustParse(plain, packet.FromClient) },
		"Split and ParsePublish with neighbouring properties":  func() { mustParse(together, packet.FromClient) },
		"Split and ParsePublish with subscription identifiers": func() { mustParse(fromServer, packet.FromServer) },
		"Split of a packet that has not fully arrived":         func() { _, _, _ = packet.Split(together[:8], 1<<20) },
		"ParseAck without a code":                              func() { mustAck(ack) },
		"ParseAck with a code":                                 func() { mustAck(coded) },
		"CheckFlags":                                           func() { _ = packet.CheckFlags(packet.Frame{Type: packet.PUBREL, Flags: 2}, packet.V5) },
		"AppendPublish":                                        func() { room = packet.AppendPublish(room[:0], &out, packet.V5) },
		"AppendAck without a code":                             func() { room = packet.AppendAck(room[:0], packet.PUBACK, &packet.Ack{ID: 1}, packet.V311, 0) },
		"AppendAck with a code":                                func() { room = packet.AppendAck(room[:0], packet.PUBREC, &packet.Ack{ID: 1, Code: 0x10}, packet.V5, 0) },
		"AppendPingresp":                                       func() { room = packet.AppendPingresp(room[:0]) },
		"Publish.Size":                                         func() { _ = out.Size(packet.V5) },
		"ParseConnack of 3.1.1":                                func() { _, _ = packet.ParseConnack(zeros, packet.V311) },
		"ParseDisconnect without properties":                   func() { _, _ = packet.ParseDisconnect(zeros[:1], packet.V5, packet.FromClient) },
		"ParsePublish of 3.1.1, QoS 0":                         func() { _ = packet.ParsePublish(&p, 0, plain[2:16], packet.V311, packet.FromClient) },
	}
	for name, f := range tests {
		t.Run(name, func(t *testing.T) {
			if n := testing.AllocsPerRun(100, f); n != 0 {
				t.Errorf("%v allocations, want 0", n)
			}
		})
	}
}

func TestHostilePacketsTakeLittleMemory(t *testing.T) {
	const size = 1 << 20
	long := []byte{0xF0, 0xFF, 0x3F} // a property length of 1,048,560
	list := bytes.Repeat([]byte{0x26, 0, 0, 0, 0}, 1_048_560/5)
	tests := map[string]struct {
		typ  packet.Type
		body []byte
	}{
		"empty user properties":    {packet.PUBACK, raw(0, 1, 0, long, list)},
		"empty filters":            {packet.SUBSCRIBE, raw(0, 1, 0, bytes.Repeat([]byte{0, 0, 0}, size/3))},
		"empty filters to be left": {packet.UNSUBSCRIBE, raw(0, 1, 0, bytes.Repeat([]byte{0, 0}, size/2))},
		"codes":                    {packet.SUBACK, raw(0, 1, 0, make([]byte, size))},
		"subscription identifiers": {packet.PUBLISH, raw("", long, bytes.Repeat([]byte{0x0B, 1}, 1_048_560/2))},
		"scattered properties": {packet.PUBLISH, raw("", []byte{0xEE, 0xFF, 0x3F},
			bytes.Repeat([]byte{0x26, 0, 0, 0, 0, 0x0B, 1}, 1_048_558/7))},
		"a length that lies": {packet.PUBLISH, raw("", 0xFF, 0xFF, 0xFF, 0x7F)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			before := allocated()
			_, err := parse(packet.Frame{Type: tt.typ, Body: tt.body}, packet.V5, packet.FromServer)
			took := allocated() - before
			if lie := name == "a length that lies"; lie != (err != nil) {
				t.Errorf("err = %v, want an error: %v", err, lie)
			}
			if limit := uint64(48*len(tt.body) + 1<<16); took > limit {
				t.Errorf("%d bytes of input took %d bytes of memory, want at most %d", len(tt.body), took, limit)
			}
		})
	}
}

func BenchmarkSplit(b *testing.B) {
	in := publishPlain()
	for b.Loop() {
		if _, n, err := packet.Split(in, 1<<20); n == 0 || err != nil {
			b.Fatal(n, err)
		}
	}
}

func BenchmarkParsePublish(b *testing.B) {
	for name, in := range map[string][]byte{"plain": publishPlain(), "together": publishTogether(), "apart": publishApart()} {
		b.Run(name, func(b *testing.B) {
			var p packet.Publish
			b.ReportAllocs()
			for b.Loop() {
				if err := packet.ParsePublish(&p, in[0]&0x0F, in[2:], packet.V5, packet.FromClient); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppendPublish(b *testing.B) {
	p := packet.Publish{QoS: 1, ID: 9, Topic: []byte("plant/1/temp"), Payload: make([]byte, 64)}
	room := make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		room = packet.AppendPublish(room[:0], &p, packet.V5)
	}
}

func BenchmarkParseAck(b *testing.B) {
	for b.Loop() {
		if _, err := packet.ParseAck(packet.PUBACK, []byte{0, 9}, packet.V5); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendAck(b *testing.B) {
	room := make([]byte, 0, 16)
	b.ReportAllocs()
	for b.Loop() {
		room = packet.AppendAck(room[:0], packet.PUBACK, &packet.Ack{ID: 9}, packet.V5, 0)
	}
}
