package crash

import (
	"bytes"
	"testing"

	"github.com/eclipse/paho.golang/packets"
	"github.com/google/go-cmp/cmp"
)

// TestFramer feeds packets of paho.golang byte by byte, and many at once.
func TestFramer(t *testing.T) {
	var stream bytes.Buffer
	sent := packets.NewControlPacket(packets.PUBLISH)
	p := sent.Content.(*packets.Publish)
	p.Topic, p.PacketID, p.QoS, p.Duplicate, p.Retain = "load/a", 300, 2, true, true
	p.Payload = []byte(payload("p.1", 5000))
	format := byte(1)
	p.Properties = &packets.Properties{PayloadFormat: &format}
	if _, err := p.WriteTo(&stream); err != nil {
		t.Fatal(err)
	}
	if _, err := (&packets.Puback{PacketID: 7, ReasonCode: 0x97, Properties: &packets.Properties{}}).WriteTo(&stream); err != nil {
		t.Fatal(err)
	}
	want := publish{topic: "load/a", id: 300, payload: payload("p.1", 5000), qos: 2, dup: true, retain: true}
	for name, size := range map[string]int{"byte by byte": 1, "at once": stream.Len()} {
		t.Run(name, func(t *testing.T) {
			var f framer
			var kinds []byte
			for rest := stream.Bytes(); len(rest) > 0; rest = rest[size:] {
				err := f.feed(rest[:size], func(f frame) error {
					kinds = append(kinds, f.kind)
					if f.kind == typePublish {
						if got := parsePublish(f, protocol5); got != want {
							t.Errorf("got %+v", got)
						}
						return nil
					}
					id, code, err := parseAck(f)
					if id != 7 || code != 0x97 {
						t.Errorf("PUBACK for %d says 0x%02X", id, code)
					}
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff([]byte{typePublish, typePuback}, kinds); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFramerRefusesALengthOfFiveBytes(t *testing.T) {
	var f framer
	err := f.feed([]byte{0x30, 0xff, 0xff, 0xff, 0xff, 0x01}, func(frame) error { return nil })
	if err == nil {
		t.Error("is accepted")
	}
}

func TestDamagedPayload(t *testing.T) {
	text := payload("p.1", 100)
	if key, whole := keyOf("load/a", text); key != "p.1" || !whole {
		t.Errorf("the key of a whole payload is %q, whole %t", key, whole)
	}
	if _, whole := keyOf("load/a", text[:50]+"x"+text[51:]); whole {
		t.Error("damage is not seen")
	}
}
