package record

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/fantail-mqtt/fantail/message"
)

// expect is what Scan should read of a record that Parse has read.
func expect(r *Record) Raw {
	want := Raw{Kind: r.Kind, Client: []byte(r.Client), Seq: r.Seq, ID: r.ID, Use: r.Use, Size: r.Size}
	switch r.Kind {
	case KindQueued:
		want.Seq, want.ID, want.HasBody = r.Queued.Seq, r.Queued.ID, r.HasBody
	case KindRetained, KindBody:
		want.Name, want.Size, want.Expires = []byte(r.Message.Topic), r.Message.Size(), r.Message.ExpiresAt()
	case KindRetainCleared:
		want.Name = []byte(r.Topic)
	case KindSubscribed:
		want.Name = []byte(r.Subscription.Filter)
	case KindUnsubscribed:
		want.Name = []byte(r.Filter)
	case KindSettingPut, KindSettingGone:
		want.Space, want.Name = []byte(r.Setting.Space), []byte(r.Setting.Key)
	default:
	}
	return want
}

func TestScanReadsWhatParseReads(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := records().Draw(t, "record")
		b := encode(nil, &r)
		var raw Raw
		n, err := Scan(append(bytes.Clone(b), 0xFF), &raw)
		if err != nil || n != len(b) {
			t.Fatalf("%s: %d of %d bytes, %v", r.Kind, n, len(b), err)
		}
		rest := raw.Rest
		raw.Rest = nil
		if diff := cmp.Diff(expect(&r), raw, cmp.Comparer(func(a, b []byte) bool { return bytes.Equal(a, b) })); diff != "" {
			t.Fatalf("%s (-want +got):\n%s", r.Kind, diff)
		}
		if r.Kind == KindQueued {
			restIs(t, rest, r.Queued, r.HasBody)
		}
		if r.Kind == KindBody {
			m, err := KeepBody(b)
			if diff := cmp.Diff(r.Message, m); diff != "" || err != nil {
				t.Fatalf("%v (-want +got):\n%s", err, diff)
			}
		}
		cut := rapid.IntRange(0, len(b)-1).Draw(t, "cut")
		if _, err := Scan(b[:cut], &raw); err == nil {
			t.Fatalf("%s: scanned %d of %d bytes", r.Kind, cut, len(b))
		}
	})
}

func restIs(t *rapid.T, rest []byte, want Queued, body bool) {
	want.Seq, want.ID = 0, 0
	got, hasBody, n, err := ParseRest(rest)
	if diff := cmp.Diff(want, got); diff != "" || hasBody != body || n != len(rest) || err != nil {
		t.Fatalf("%v, %d of %d bytes, %v (-want +got):\n%s", hasBody, n, len(rest), err, diff)
	}
	if n, hasBody, err := SkipRest(rest); n != len(rest) || hasBody != body || err != nil {
		t.Fatalf("skipped %d of %d bytes, %v, %v", n, len(rest), hasBody, err)
	}
}

func TestScanDoesNotAllocate(t *testing.T) {
	m := &message.Message{Topic: "a/b", Payload: make([]byte, 100)}
	var f Frame
	f.Append(AppendQueued(nil, "client", Queued{Seq: 900, QoS: 1, IDs: []uint32{1, 2}, Message: m}), m)
	b := f.Bytes()
	var raw Raw
	if n := testing.AllocsPerRun(100, func() {
		for at := 0; at < len(b); {
			n, err := Scan(b[at:], &raw)
			if err != nil {
				t.Fatal(err)
			}
			at += n
		}
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func FuzzScan(f *testing.F) {
	for i := range 32 {
		f.Add(frame(histories().Example(i).steps))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, n, err := Parse(b)
		if err != nil {
			var raw Raw
			_, _ = Scan(b, &raw) // must not panic
			return
		}
		var raw Raw
		got, err := Scan(b, &raw)
		if got != n || err != nil || raw.Kind != r.Kind || string(raw.Client) != r.Client {
			t.Fatalf("scanned %d bytes, %v; parsed %d of %s", got, err, n, r.Kind)
		}
	})
}
