package packet_test

import (
	"bytes"
	"runtime/metrics"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/fantail-mqtt/fantail/packet"
)

// Whatever a peer sends, a Parse function neither panics nor takes much more
// memory than it was given, and what it accepts is stable: written and read
// once more it is the same.

func FuzzParseConnect(f *testing.F) { fuzzParse(f, packet.CONNECT) }
func FuzzParseConnack(f *testing.F) { fuzzParse(f, packet.CONNACK) }
func FuzzParsePublish(f *testing.F) { fuzzParse(f, packet.PUBLISH) }
func FuzzParseAck(f *testing.F) {
	fuzzParse(f, packet.PUBACK, packet.PUBREC, packet.PUBREL, packet.PUBCOMP)
}
func FuzzParseSubscribe(f *testing.F)   { fuzzParse(f, packet.SUBSCRIBE) }
func FuzzParseSuback(f *testing.F)      { fuzzParse(f, packet.SUBACK, packet.UNSUBACK) }
func FuzzParseUnsubscribe(f *testing.F) { fuzzParse(f, packet.UNSUBSCRIBE) }
func FuzzParseDisconnect(f *testing.F)  { fuzzParse(f, packet.DISCONNECT) }
func FuzzParseAuth(f *testing.F)        { fuzzParse(f, packet.AUTH) }
func FuzzParseEmpty(f *testing.F)       { fuzzParse(f, packet.PINGREQ, packet.PINGRESP) }

func fuzzParse(f *testing.F, types ...packet.Type) {
	for _, typ := range types {
		for _, v := range []packet.Version{packet.V31, packet.V311, packet.V5} {
			for _, from := range []packet.Dir{packet.FromClient, packet.FromServer} {
				for seed := range 3 {
					frame := seedFrame(f, typ, v, from, seed)
					if len(frame.Body) > 512 {
						continue // the engine spends its time on shrinking it
					}
					f.Add(byte(typ)<<4|frame.Flags, byte(v), byte(from), frame.Body)
				}
			}
		}
	}
	f.Fuzz(func(t *testing.T, first, v, from byte, body []byte) {
		frame := packet.Frame{Type: types[int(first>>4)%len(types)], Flags: first & 0x0F, Body: body}
		checkParse(t, frame, packet.V31+packet.Version(v)%3, packet.Dir(from&1))
	})
}

// seedFrame is one packet of our own encoder.
func seedFrame(f *testing.F, typ packet.Type, v packet.Version, from packet.Dir, seed int) packet.Frame {
	f.Helper()
	if typ == packet.AUTH {
		v = packet.V5
	}
	x := rapid.Custom(func(t *rapid.T) any {
		drawBool(t, "rapid wants a draw, and some packets have nothing to choose")
		return drawPacket(t, typ, v, from)
	}).Example(seed)
	frame, err := split(encode(nil, x, typ, v))
	if err != nil {
		f.Fatal(err)
	}
	return frame
}

func checkParse(t *testing.T, f packet.Frame, v packet.Version, from packet.Dir) {
	given := bytes.Clone(f.Body)
	before := allocated()
	x, err := parse(f, v, from)
	// The runtime and the fuzzing engine allocate too: hence the slack. A
	// length that is believed before it is checked costs up to 256 MiB.
	if took := allocated() - before; took > uint64(64*len(f.Body)+1<<21) {
		t.Errorf("%d bytes of input took %d bytes of memory", len(f.Body), took)
	}
	if !bytes.Equal(given, f.Body) {
		t.Fatalf("parsing changed its input\nfrom % x\nto   % x", given, f.Body)
	}
	if err != nil {
		if _, ok := codeOf(err); !ok {
			t.Fatalf("err = %v, which has no reason code", err)
		}
		return
	}
	if c, ok := x.(*packet.Connect); ok {
		v = c.Version
	}
	if c, ok := x.(*packet.Connack); ok && v < packet.V5 && c.Code == packet.UnspecifiedError {
		return // a reserved return code, which nothing stands for on the way back
	}
	again, err := split(encode(nil, x, f.Type, v))
	if err != nil {
		t.Fatalf("%+v: written, it does not split: %v", x, err)
	}
	y, err := parse(again, v, from)
	if err != nil {
		t.Fatalf("%+v: written, it does not parse: %v\n% x", x, err, again.Body)
	}
	if diff := cmp.Diff(x, y, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("written and read again it differs (-first +second):\n%s", diff)
	}
	if p, ok := x.(*packet.Publish); ok {
		checkForward(t, p.Forward)
	}
}

// checkForward makes sure that what ParsePublish passes on can be taken apart.
func checkForward(t *testing.T, b []byte) {
	x, err := packet.ParseForward(b)
	if err != nil {
		t.Fatalf("% x: passed on, but does not come apart: %v", b, err)
	}
	y, err := packet.ParseForward(packet.AppendForward(nil, &x))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(x, y, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("forwarded properties written and read again differ (-first +second):\n%s", diff)
	}
}

func FuzzParseForward(f *testing.F) {
	f.Add([]byte{})
	f.Add(packet.AppendForward(nil, &packet.ForwardProperties{
		PayloadFormat: 1, HasPayloadFormat: true, ContentType: "text/plain", ResponseTopic: "r",
		CorrelationData: []byte("c"), HasCorrelation: true, User: []packet.UserProperty{{Key: "k", Value: "v"}},
	}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := packet.ParseForward(b); err == nil {
			checkForward(t, b)
		}
	})
}

func FuzzSplit(f *testing.F) {
	f.Add([]byte{0xC0, 0}, 100)
	f.Add([]byte{0x30, 0x80, 0x80, 0x01}, 1<<20)
	f.Add(packet.AppendPublish(nil, &packet.Publish{Topic: []byte("a"), Payload: make([]byte, 200)}, packet.V311), 1000)
	f.Fuzz(func(t *testing.T, b []byte, limit int) {
		frame, n, err := packet.Split(b, limit)
		if err != nil {
			if _, ok := codeOf(err); !ok || n != 0 {
				t.Fatalf("n = %d, err = %v: want 0 and a reason code", n, err)
			}
			return
		}
		if n > len(b) || n > limit && n > 0 {
			t.Fatalf("n = %d of %d bytes, limit %d", n, len(b), limit)
		}
		if n == 0 {
			return
		}
		if n < 2 || !bytes.HasSuffix(b[:n], frame.Body) {
			t.Fatalf("n = %d, but the body is % x", n, frame.Body)
		}
		// One byte less is a packet that has not fully arrived, one more is the next one's.
		if _, m, err := packet.Split(b[:n-1], limit); m != 0 || err != nil {
			t.Fatalf("without its last byte: n = %d, err = %v", m, err)
		}
		if _, m, err := packet.Split(append(bytes.Clone(b[:n]), 0xFF), limit); m != n || err != nil {
			t.Fatalf("with a byte behind it: n = %d, err = %v, want %d", m, err, n)
		}
	})
}

// allocated is how many bytes the process has taken from the heap so far.
func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}
