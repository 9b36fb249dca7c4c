package record

import (
	"errors"
	"io"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/fantail-mqtt/fantail/message"
	"github.com/fantail-mqtt/fantail/packet"
)

// encode is the way back from Parse.
func encode(dst []byte, r *Record) []byte {
	switch r.Kind {
	case KindSessionOpened:
		return AppendSessionOpened(dst, r.Client, r.Opened)
	case KindSessionClosed:
		return AppendSessionClosed(dst, r.Client, r.At, r.Expiry, r.Doubt)
	case KindSessionEnded:
		return AppendSessionEnded(dst, r.Client)
	case KindSubscribed:
		return AppendSubscribed(dst, r.Client, r.Subscription)
	case KindUnsubscribed:
		return AppendUnsubscribed(dst, r.Client, r.Filter)
	case KindQueued:
		q := r.Queued
		if r.HasBody {
			q.Message = &message.Message{}
		}
		return AppendQueued(dst, r.Client, q)
	case KindSent:
		return AppendSent(dst, r.Client, r.Seq, r.ID, r.Size)
	case KindReleased:
		return AppendReleased(dst, r.Client, r.Seq)
	case KindAcked:
		return AppendAcked(dst, r.Client, r.Seq, r.Size)
	case KindReceived:
		return AppendReceived(dst, r.Client, r.ID)
	case KindCompleted:
		return AppendCompleted(dst, r.Client, r.ID)
	case KindRetained:
		return AppendRetained(dst, Retained{r.Message, r.By})
	case KindRetainCleared:
		return AppendRetainCleared(dst, r.Topic)
	case KindWillArmed:
		return AppendWillArmed(dst, r.Client, r.Will)
	case KindWillGone:
		return AppendWillGone(dst, r.Client)
	case KindBody:
		return AppendBody(dst, r.Message)
	case KindUse:
		return AppendUse(dst, r.Use)
	case KindExpired:
		run := r.Run
		run.Client = r.Client
		return AppendExpired(dst, run)
	case KindSettingPut:
		return AppendSettingPut(dst, r.Setting)
	case KindSettingGone:
		return AppendSettingGone(dst, r.Setting.Place)
	default:
		panic("no encoder for " + r.Kind.String())
	}
}

func messages() *rapid.Generator[*message.Message] {
	return rapid.Custom(func(t *rapid.T) *message.Message {
		m := &message.Message{
			Topic:     rapid.String().Draw(t, "topic"),
			Payload:   orNil(rapid.SliceOf(rapid.Byte()).Draw(t, "payload")),
			Forward:   orNil(rapid.SliceOf(rapid.Byte()).Draw(t, "forward")),
			Arrived:   rapid.Int64().Draw(t, "arrived"),
			QoS:       rapid.ByteMax(2).Draw(t, "qos"),
			Retain:    rapid.Bool().Draw(t, "retain"),
			HasExpiry: rapid.Bool().Draw(t, "has expiry"),
		}
		if m.HasExpiry {
			m.Expiry = rapid.Uint32().Draw(t, "expiry")
		}
		return m
	})
}

func sources() *rapid.Generator[message.Source] {
	return rapid.Custom(func(t *rapid.T) message.Source {
		return message.Source{
			Client: rapid.String().Draw(t, "publisher"), User: rapid.String().Draw(t, "publisher's user"), Known: rapid.Bool().Draw(t, "known"),
		}
	})
}

func orNil[T any](s []T) []T {
	if len(s) == 0 {
		return nil
	}
	return s
}

func records() *rapid.Generator[Record] {
	return rapid.Custom(func(t *rapid.T) Record {
		r := Record{Kind: Kind(rapid.ByteRange(byte(KindSessionOpened), byte(KindSettingGone)).Draw(t, "kind"))}
		switch r.Kind {
		case KindRetained, KindRetainCleared, KindBody, KindUse, KindSettingPut, KindSettingGone:
		default:
			r.Client = rapid.String().Draw(t, "client")
		}
		switch r.Kind {
		case KindSessionOpened:
			r.Opened = Opened{
				At: rapid.Int64().Draw(t, "at"), Expiry: rapid.Uint32().Draw(t, "expiry"),
				Version: packet.Version(rapid.ByteRange(3, 5).Draw(t, "version")), UserName: rapid.String().Draw(t, "user"),
			}
		case KindSessionClosed:
			r.At, r.Expiry = rapid.Int64().Draw(t, "at"), rapid.Uint32().Draw(t, "expiry")
			r.Doubt = rapid.Uint64().Draw(t, "doubt")
		case KindSubscribed:
			r.Subscription = Subscription{
				Filter: rapid.String().Draw(t, "filter"), QoS: rapid.ByteMax(2).Draw(t, "qos"),
				NoLocal: rapid.Bool().Draw(t, "no local"), RetainAsPublished: rapid.Bool().Draw(t, "as published"),
				RetainHandling: rapid.ByteMax(2).Draw(t, "handling"), ID: rapid.Uint32().Draw(t, "id"),
			}
		case KindUnsubscribed:
			r.Filter = rapid.String().Draw(t, "filter")
		case KindQueued:
			r.Queued = Queued{
				Seq: rapid.Uint64().Draw(t, "seq"), ID: rapid.Uint16().Draw(t, "id"), QoS: rapid.ByteMax(2).Draw(t, "qos"),
				Retain: rapid.Bool().Draw(t, "retain"), IDs: orNil(rapid.SliceOf(rapid.Uint32()).Draw(t, "ids")),
				Shared: rapid.String().Draw(t, "shared"),
			}
			r.HasBody = rapid.Bool().Draw(t, "with body")
		case KindSent:
			r.Seq, r.ID = rapid.Uint64().Draw(t, "seq"), rapid.Uint16().Draw(t, "id")
			r.Size = rapid.IntMin(0).Draw(t, "size")
		case KindReleased:
			r.Seq = rapid.Uint64().Draw(t, "seq")
		case KindAcked:
			r.Seq, r.Size = rapid.Uint64().Draw(t, "seq"), rapid.IntMin(0).Draw(t, "size")
		case KindExpired:
			r.Run = Run{
				First: rapid.Uint64().Draw(t, "first"), Last: rapid.Uint64().Draw(t, "last"), At: rapid.Int64().Draw(t, "at"),
				Messages: rapid.IntMin(0).Draw(t, "messages"), Bytes: rapid.IntMin(0).Draw(t, "bytes"),
			}
		case KindReceived, KindCompleted:
			r.ID = rapid.Uint16().Draw(t, "id")
		case KindRetained:
			r.Message, r.By = messages().Draw(t, "message"), sources().Draw(t, "by")
		case KindBody:
			r.Message = messages().Draw(t, "message")
		case KindUse:
			r.Use = rapid.IntRange(0, math.MaxInt32).Draw(t, "use")
		case KindRetainCleared:
			r.Topic = rapid.String().Draw(t, "topic")
		case KindWillArmed:
			r.Will = Will{
				Message: messages().Draw(t, "message"), Delay: rapid.Uint32().Draw(t, "delay"),
				FireAt: rapid.Int64().Draw(t, "fire at"),
			}
		case KindSettingPut:
			r.Setting = Setting{
				Place: places().Draw(t, "place"), At: rapid.Int64().Draw(t, "at"),
				Value: orNil(rapid.SliceOf(rapid.Byte()).Draw(t, "value")),
			}
		case KindSettingGone:
			r.Setting.Place = places().Draw(t, "place")
		case KindSessionEnded, KindWillGone:
		}
		return r
	})
}

func places() *rapid.Generator[Place] {
	return rapid.Custom(func(t *rapid.T) Place {
		return Place{Space: rapid.String().Draw(t, "space"), Key: rapid.String().Draw(t, "key")}
	})
}

func TestWhatIsAppendedIsParsed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(records(), 1, 5).Draw(t, "records")
		var batch []byte
		for i := range want {
			batch = encode(batch, &want[i])
		}
		for i := range want {
			got, n, err := Parse(batch)
			if err != nil {
				t.Fatalf("record %d, %s: %v", i, want[i].Kind, err)
			}
			if diff := cmp.Diff(want[i], got); diff != "" {
				t.Fatalf("record %d, %s (-want +got):\n%s", i, want[i].Kind, diff)
			}
			batch = batch[n:]
		}
		if len(batch) != 0 {
			t.Fatalf("%d bytes are left", len(batch))
		}
	})
}

func TestATornRecordIsUnexpectedEOF(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := records().Draw(t, "record")
		whole := encode(nil, &r)
		torn := whole[:rapid.IntRange(0, len(whole)-1).Draw(t, "cut")]
		if _, _, err := Parse(torn); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("%d of %d bytes: err = %v, want %v", len(torn), len(whole), err, io.ErrUnexpectedEOF)
		}
	})
}

func TestParseRefuses(t *testing.T) {
	opened := AppendSessionOpened(nil, "c", Opened{})
	cases := map[string]struct {
		in  []byte
		err string
	}{
		"kind 0":                       {[]byte{0}, `parse record: kind 0 is not known`},
		"a kind of the future":         {[]byte{200, 0}, `parse record: kind 200 is not known`},
		"nothing":                      {nil, `parse record: unexpected EOF`},
		"a name that ends early":       {opened[:2], `parse record "session opened": unexpected EOF`},
		"a length past any batch":      {[]byte{byte(KindSessionEnded), 0xFF, 0xFF, 0xFF, 0xFF, 0x7F}, `parse record "session ended": number is too large`},
		"a length of 11 bytes":         {append([]byte{byte(KindSessionEnded)}, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"...), `parse record "session ended": number is too large`},
		"a length in two bytes for 1":  {[]byte{byte(KindSessionEnded), 0x81, 0x00, 'c'}, `parse record "session ended": number is not in its shortest form`},
		"a packet identifier of 65536": {[]byte{byte(KindReceived), 1, 'c', 0x80, 0x80, 0x04}, `parse record "received": number is too large`},
		"flags nobody set":             {[]byte{byte(KindQueued), 1, 'c', 1, 0, 0x80}, `parse record "queued": unknown flags`},
		"an empty list":                {[]byte{byte(KindQueued), 1, 'c', 1, 0, queuedIDs, 0}, `parse record "queued": list of identifiers is empty`},
		"a list longer than the batch": {[]byte{byte(KindQueued), 1, 'c', 1, 0, queuedIDs, 9, 1}, `parse record "queued": unexpected EOF`},
		"an empty shared filter":       {[]byte{byte(KindQueued), 1, 'c', 1, 0, queuedShared, 0}, `parse record "queued": shared filter is empty`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, n, err := Parse(c.in)
			if err == nil || err.Error() != c.err || n != 0 {
				t.Errorf("n = %d, err = %v, want 0, %s", n, err, c.err)
			}
		})
	}
}

// Numbers on disk stay: this fails when somebody renumbers the kinds or moves
// a field.
func TestEncodingStays(t *testing.T) {
	m := &message.Message{Topic: "t", Payload: []byte("p"), Forward: []byte("f"), Arrived: 300, Expiry: 7, HasExpiry: true, QoS: 1, Retain: true}
	cases := map[Kind]struct {
		in   Record
		want string
	}{
		KindSessionOpened: {Record{Opened: Opened{At: 300, Expiry: Never, Version: 5, UserName: "u"}}, "\x01\x01c\xac\x02\xff\xff\xff\xff\x0f\x05\x01u"},
		KindSessionClosed: {Record{At: 300, Expiry: 9, Doubt: 10}, "\x02\x01c\xac\x02\x09\x0a"},
		KindSessionEnded:  {Record{}, "\x03\x01c"},
		KindSubscribed:    {Record{Subscription: Subscription{Filter: "f", QoS: 2, NoLocal: true, RetainAsPublished: true, RetainHandling: 2, ID: 8}}, "\x04\x01c\x01f\x2e\x08"},
		KindUnsubscribed:  {Record{Filter: "f"}, "\x05\x01c\x01f"},
		KindQueued:        {Record{HasBody: true, Queued: Queued{Seq: 3, ID: 4, QoS: 1, Retain: true, IDs: []uint32{5, 6}, Shared: "s"}}, "\x06\x01c\x03\x04\x3d\x01s\x02\x05\x06"},
		KindSent:          {Record{Seq: 3, ID: 4, Size: 300}, "\x07\x01c\x03\x04\xac\x02"},
		KindReleased:      {Record{Seq: 3}, "\x08\x01c\x03"},
		KindAcked:         {Record{Seq: 3, Size: 5}, "\x09\x01c\x03\x05"},
		KindReceived:      {Record{ID: 4}, "\x0a\x01c\x04"},
		KindCompleted:     {Record{ID: 4}, "\x0b\x01c\x04"},
		KindRetained:      {Record{Message: m, By: message.Source{Client: "c", User: "u", Known: true}}, "\x0c\x0d\xac\x02\x07\x01t\x01f\x01p\x03\x01c\x01u"},
		KindRetainCleared: {Record{Topic: "t"}, "\x0d\x01t"},
		KindWillArmed:     {Record{Will: Will{Message: m, Delay: 5, FireAt: 6}}, "\x0e\x01c\x05\x06\x0d\xac\x02\x07\x01t\x01f\x01p"},
		KindWillGone:      {Record{}, "\x0f\x01c"},
		KindBody:          {Record{Message: m}, "\x10\x0d\xac\x02\x07\x01t\x01f\x01p"},
		KindUse:           {Record{Use: 300}, "\x11\xac\x02"},
		KindExpired:       {Record{Run: Run{First: 3, Last: 4, At: 300, Messages: 2, Bytes: 5}}, "\x12\x01c\x03\x04\xac\x02\x02\x05"},
		KindSettingPut:    {Record{Setting: Setting{Place: Place{"s", "k"}, Value: []byte("v"), At: 300}}, "\x13\x01s\x01k\xac\x02\x01v"},
		KindSettingGone:   {Record{Setting: Setting{Place: Place{"s", "k"}}}, "\x14\x01s\x01k"},
	}
	for kind := KindSessionOpened; kind <= KindSettingGone; kind++ {
		c, ok := cases[kind]
		if !ok {
			t.Errorf("%s: no case", kind)
			continue
		}
		c.in.Kind, c.in.Client = kind, "c"
		if got := string(encode(nil, &c.in)); got != c.want {
			t.Errorf("%s:\n got %q\nwant %q", kind, got, c.want)
		}
	}
}

func TestAppendDoesNotAllocate(t *testing.T) {
	m := &message.Message{Topic: "a/b", Payload: make([]byte, 100), Forward: []byte{1, 1}}
	buf := make([]byte, 0, 4096)
	ids, by := []uint32{1, 2}, message.Source{Client: "client", User: "user", Known: true}
	n := testing.AllocsPerRun(100, func() {
		b := AppendSessionOpened(buf, "client", Opened{At: 1, Expiry: 2, Version: packet.V5, UserName: "user"})
		b = AppendSessionClosed(b, "client", 5, Never, 6)
		b = AppendSessionEnded(b, "client")
		b = AppendSubscribed(b, "client", Subscription{Filter: "a/+", QoS: 1, NoLocal: true, ID: 7})
		b = AppendUnsubscribed(b, "client", "a/+")
		b = AppendQueued(b, "client", Queued{Seq: 9, QoS: 1, IDs: ids, Shared: "$share/g/a/+", Message: m})
		b = AppendSent(b, "client", 9, 4, 100)
		b = AppendReleased(b, "client", 9)
		b = AppendAcked(b, "client", 9, 0)
		b = AppendReceived(b, "client", 4)
		b = AppendCompleted(b, "client", 4)
		b = AppendRetained(b, Retained{m, by})
		b = AppendRetainCleared(b, "a/b")
		b = AppendWillArmed(b, "client", Will{Message: m, Delay: 3})
		b = AppendBody(b, m)
		b = AppendUse(b, 3)
		b = AppendSettingPut(b, Setting{Place: Place{"space", "key"}, Value: m.Payload, At: 5})
		b = AppendSettingGone(b, Place{"space", "key"})
		_ = AppendWillGone(b, "client")
	})
	if n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func FuzzParse(f *testing.F) {
	seeds := rapid.SliceOfN(records(), 1, 4)
	for i := range 32 {
		var batch []byte
		for _, r := range seeds.Example(i) {
			batch = encode(batch, &r)
		}
		f.Add(batch)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, n, err := Parse(b)
		if err != nil {
			return
		}
		if n <= 0 || n > len(b) {
			t.Fatalf("a record of %d bytes in %d", n, len(b))
		}
		if again := encode(nil, &r); string(again) != string(b[:n]) {
			t.Fatalf("%s: parsed %x, appended %x", r.Kind, b[:n], again)
		}
	})
}
