package load

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestEncoders(t *testing.T) {
	long := strings.Repeat("x", 200)
	cases := map[string]struct{ got, want []byte }{
		"a connect is clean and has its keep-alive": {
			appendConnect(nil, cleanSession, "ab", 300),
			[]byte("\x10\x0e\x00\x04MQTT\x04\x02\x01\x2c\x00\x02ab"),
		},
		"a connect that keeps its session": {
			appendConnect(nil, keptSession, "ab", 0),
			[]byte("\x10\x0e\x00\x04MQTT\x04\x00\x00\x00\x00\x02ab"),
		},
		"a subscribe names one filter with identifier 1": {
			appendSubscribe(nil, "a/#", 2),
			[]byte("\x82\x08\x00\x01\x00\x03a/#\x02"),
		},
		"a publish at QoS 0 has no identifier": {
			publishStart("t/1", 0, 24),
			[]byte("\x30\x1d\x00\x03t/1"),
		},
		"a publish at QoS 1 leaves room for its identifier": {
			publishStart("t/1", 1, 24),
			[]byte("\x32\x1f\x00\x03t/1\x00\x00"),
		},
		"a publish of more than 127 bytes has a longer length": {
			publishStart("t", 2, 128),
			[]byte("\x34\x85\x01\x00\x01t\x00\x00"),
		},
		"a long string counts in two bytes": {
			appendString(nil, long),
			append([]byte{0, 200}, long...),
		},
		"an acknowledgement joins what is there": {
			appendAck([]byte{1}, pubrelHead, 0x1234),
			[]byte{1, 0x62, 2, 0x12, 0x34},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if !bytes.Equal(c.got, c.want) {
				t.Errorf("got  % x\nwant % x", c.got, c.want)
			}
		})
	}
}

func TestLength(t *testing.T) {
	cases := map[string]struct {
		n    int
		want string
	}{
		"nothing":                     {0, "\x00"},
		"the last of one byte":        {127, "\x7f"},
		"the first of two bytes":      {128, "\x80\x01"},
		"the last of two bytes":       {16383, "\xff\x7f"},
		"the first of three bytes":    {16384, "\x80\x80\x01"},
		"the last of the whole range": {268435455, "\xff\xff\xff\x7f"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			b := appendLength(nil, c.n)
			if string(b) != c.want {
				t.Fatalf("encoded % x, want % x", b, c.want)
			}
			n, used, err := length(b)
			if n != c.n || used != len(b) || err != nil {
				t.Errorf("decoded %d of %d bytes, %v", n, used, err)
			}
			if _, used, err := length(b[:len(b)-1]); used != 0 || err != nil {
				t.Errorf("one byte short: used %d, %v; want to wait for more", used, err)
			}
		})
	}
}

func TestFrame(t *testing.T) {
	large := append([]byte{0x30, 0x80, 0x01}, bytes.Repeat([]byte{7}, 128)...)
	cases := map[string]struct {
		in   []byte
		head byte
		body []byte
		size int
		err  error
	}{
		"nothing yet":                     {in: nil},
		"a first byte alone":              {in: []byte{0x40}},
		"an acknowledgement":              {in: []byte{0x40, 2, 0, 9}, head: 0x40, body: []byte{0, 9}, size: 4},
		"a packet with the next one":      {in: []byte{0xd0, 0, 0x40}, head: 0xd0, body: []byte{}, size: 2},
		"a packet with a byte missing":    {in: []byte{0x40, 2, 0}},
		"a length with a byte missing":    {in: []byte{0x30, 0x80}},
		"a large packet":                  {in: large, head: 0x30, body: large[3:], size: len(large)},
		"a large packet, a byte missing":  {in: large[:len(large)-1]},
		"a length that goes on too long":  {in: []byte{0x30, 0x80, 0x80, 0x80, 0x80, 1}, err: errLength},
		"a long length, its end not here": {in: []byte{0x30, 0x80, 0x80, 0x80}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			head, body, size, err := frame(c.in)
			if head != c.head || !bytes.Equal(body, c.body) || size != c.size || !errors.Is(err, c.err) {
				t.Errorf("frame(% x) = %#x, % x, %d, %v", c.in, head, body, size, err)
			}
		})
	}
}

func TestParsePublish(t *testing.T) {
	cases := map[string]struct {
		body string
		qos  byte
		want publication
		ok   bool
	}{
		"QoS 0":                      {"\x00\x01tpay", 0, publication{topic: []byte("t"), payload: []byte("pay")}, true},
		"QoS 2":                      {"\x00\x01t\x01\x02pay", 2, publication{topic: []byte("t"), id: 0x102, payload: []byte("pay")}, true},
		"no payload":                 {"\x00\x01t", 0, publication{topic: []byte("t")}, true},
		"no topic length":            {"\x00", 0, publication{}, false},
		"a topic longer than it":     {"\x00\x05t", 0, publication{}, false},
		"an identifier cut in two":   {"\x00\x01t\x01", 1, publication{}, false},
		"an empty body at any QoS":   {"", 1, publication{}, false},
		"a topic that fills it all":  {"\x00\x02ab\x00\x01", 1, publication{topic: []byte("ab"), id: 1}, true},
		"QoS 1 with the topic short": {"\x00\x09ab\x00\x01", 1, publication{}, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, ok := parsePublish([]byte(c.body), c.qos)
			same := bytes.Equal(got.topic, c.want.topic) && got.id == c.want.id && bytes.Equal(got.payload, c.want.payload)
			if ok != c.ok || !same {
				t.Errorf("got %+v, %v", got, ok)
			}
		})
	}
}

func TestParseAck(t *testing.T) {
	if id, ok := parseAck([]byte{1, 2}); id != 0x102 || !ok {
		t.Errorf("got %#x, %v", id, ok)
	}
	if _, ok := parseAck([]byte{1}); ok {
		t.Error("half an identifier was accepted")
	}
}

func TestStampComesBack(t *testing.T) {
	want := stamp{run: 0xfedcba98, publisher: 499, seq: 1 << 40, sent: 123456789012345}
	b := make([]byte, StampSize)
	want.put(b)
	if got := getStamp(b); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
