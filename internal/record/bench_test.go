package record

import (
	"testing"

	"github.com/fantail-mqtt/fantail/message"
)

// queuedRecord is what a message of 128 bytes that is queued for a client adds to
// the log.
func queuedRecord(dst []byte, m *message.Message) []byte {
	return AppendBody(AppendQueued(dst, "client-0001", Queued{Seq: 12345, ID: 7, QoS: 1}), m)
}

func benchMessage() *message.Message {
	return &message.Message{Topic: "plant/1/temp", Payload: make([]byte, 128), QoS: 1}
}

func BenchmarkAppend(b *testing.B) {
	m := benchMessage()
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = queuedRecord(dst[:0], m)
	}
}

func BenchmarkParse(b *testing.B) {
	records := queuedRecord(nil, benchMessage())
	b.ReportAllocs()
	for b.Loop() {
		for rest := records; len(rest) > 0; {
			_, n, err := Parse(rest)
			if err != nil {
				b.Fatal(err)
			}
			rest = rest[n:]
		}
	}
}
