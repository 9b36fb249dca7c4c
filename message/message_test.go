package message_test

import (
	"bytes"
	"math"
	"testing"

	"github.com/fantail-mqtt/fantail/message"
)

func TestExpiredAndRemaining(t *testing.T) {
	const arrived = 1_700_000_000_000
	tests := map[string]struct {
		expiry  uint32
		forever bool
		waited  int64 // milliseconds

		expired   bool
		remaining uint32
	}{
		"at once":                                  {expiry: 10, waited: 0, remaining: 10},
		"a second has not passed yet":              {expiry: 10, waited: 999, remaining: 10},
		"a second has passed":                      {expiry: 10, waited: 1000, remaining: 9},
		"the last millisecond":                     {expiry: 10, waited: 9999, remaining: 1},
		"the time is over":                         {expiry: 10, waited: 10_000, expired: true},
		"long over":                                {expiry: 10, waited: 1 << 50, expired: true},
		"an interval of 0 is over at once":         {expiry: 0, waited: 0, expired: true},
		"the clock went back":                      {expiry: 10, waited: -5000, remaining: 10},
		"the longest interval has begun":           {expiry: math.MaxUint32, waited: 1000, remaining: math.MaxUint32 - 1},
		"the longest interval, last millisecond":   {expiry: math.MaxUint32, waited: math.MaxUint32*1000 - 1, remaining: 1},
		"the longest interval is over":             {expiry: math.MaxUint32, waited: math.MaxUint32 * 1000, expired: true},
		"without an interval nothing ever expires": {forever: true, waited: 1 << 50},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := message.Message{Arrived: arrived, Expiry: tt.expiry, HasExpiry: !tt.forever}
			now := arrived + tt.waited
			if got := m.Expired(now); got != tt.expired {
				t.Errorf("Expired: %v, want %v", got, tt.expired)
			}
			if got := m.Remaining(now); got != tt.remaining {
				t.Errorf("Remaining: %d, want %d", got, tt.remaining)
			}
			at := m.ExpiresAt()
			if tt.forever != (at == 0) {
				t.Errorf("ExpiresAt: %d", at)
			}
			if !tt.forever && (m.Expired(at-1) || !m.Expired(at)) {
				t.Errorf("ExpiresAt: %d is not the first millisecond at which the message has expired", at)
			}
		})
	}
}

func draft() message.Draft {
	return message.Draft{
		Name: []byte("plant/1"), Payload: []byte("21.5"), Forward: []byte{1, 1}, Arrived: 7, Expiry: 9, HasExpiry: true, QoS: 2, Retain: true,
	}
}

func TestKeepCopiesOnce(t *testing.T) {
	d := draft()
	m := d.Keep()
	if d.Keep() != m {
		t.Error("the second Keep is another message")
	}
	for _, b := range [][]byte{d.Name, d.Payload, d.Forward} {
		clear(b) // the read buffer goes on to other packets
	}
	if m.Topic != "plant/1" || string(m.Payload) != "21.5" || !bytes.Equal(m.Forward, []byte{1, 1}) {
		t.Errorf("the message went with its buffer: %+v", m)
	}
	if m.Arrived != 7 || m.Expiry != 9 || !m.HasExpiry || m.QoS != 2 || !m.Retain {
		t.Errorf("the message is not its draft: %+v", m)
	}
	_ = append(m.Payload, 'X')
	if !bytes.Equal(m.Forward, []byte{1, 1}) {
		t.Error("an append to the payload reaches into the properties")
	}
}

func TestKeepAllocatesTheMessageItsBodyAndItsTopic(t *testing.T) {
	first := draft()
	for name, tt := range map[string]struct {
		topic string
		want  float64
	}{"topic as bytes": {"", 3}, "somebody has the topic": {"plant/1", 2}} {
		t.Run(name, func(t *testing.T) {
			n := testing.AllocsPerRun(100, func() {
				d := first
				d.Topic = tt.topic
				for range 5 { // subscribers
					if d.Keep().Topic != "plant/1" {
						t.Fatal("wrong topic")
					}
				}
			})
			if n > tt.want {
				t.Errorf("%v allocations, want %v", n, tt.want)
			}
		})
	}
}

func TestKeepOfAnEmptyMessage(t *testing.T) {
	d := message.Draft{Name: []byte("t")}
	m := d.Keep()
	if m.Topic != "t" || len(m.Payload) != 0 || len(m.Forward) != 0 || m.HasExpiry {
		t.Errorf("%+v", m)
	}
}

func TestFromIsADraftOfTheSameMessage(t *testing.T) {
	first := draft()
	m := first.Keep()
	d := message.From(m)
	if string(d.Name) != m.Topic || d.Topic != m.Topic || !bytes.Equal(d.Payload, m.Payload) || !bytes.Equal(d.Forward, m.Forward) ||
		d.Arrived != m.Arrived || d.Expiry != m.Expiry || d.HasExpiry != m.HasExpiry || d.QoS != m.QoS || d.Retain != m.Retain {
		t.Errorf("draft %+v of %+v", d, m)
	}
	// What is left of the interval is for the wire: who keeps the message
	// keeps it as it came.
	d.Expiry = 1
	if d.Keep() != m || m.Expiry != 9 {
		t.Error("Keep is another message")
	}
}

func TestSizeCountsWhatIsHeld(t *testing.T) {
	empty := (&message.Message{}).Size()
	if empty < 64 {
		t.Errorf("an empty message counts %d bytes", empty)
	}
	m := message.Message{Topic: "plant/1", Payload: make([]byte, 100), Forward: make([]byte, 10)}
	if got := m.Size(); got != empty+117 {
		t.Errorf("%d bytes, want %d", got, empty+117)
	}
	if d := draft(); d.Size() != d.Keep().Size() {
		t.Errorf("a draft of %d bytes is a message of %d", d.Size(), d.Keep().Size())
	}
}
