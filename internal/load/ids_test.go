package load

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestAnIdentifierIsAnsweredOnce(t *testing.T) {
	var ids openIDs
	id := ids.take(41)
	if id == 0 {
		t.Fatal("0 is no identifier [MQTT-2.3.1-1]")
	}
	if sent, ok := ids.free(id); !ok || sent != 41 {
		t.Errorf("free = %d, %v; want 41", sent, ok)
	}
	if _, ok := ids.free(id); ok {
		t.Error("an identifier was freed twice")
	}
	id = ids.take(0)
	if _, ok := ids.complete(id); ok {
		t.Error("PUBCOMP was taken before PUBREC")
	}
	if !ids.release(id) || ids.release(id) {
		t.Error("PUBREC counts once")
	}
	if _, ok := ids.free(id); ok {
		t.Error("PUBACK was taken after PUBREC")
	}
	if sent, ok := ids.complete(id); !ok || sent != 0 {
		t.Errorf("complete = %d, %v; want 0", sent, ok)
	}
	if ids.used != 0 {
		t.Errorf("%d are in use", ids.used)
	}
}

// Identifiers must agree with a map, however many are open.
func TestIdentifiersAgreeWithAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var ids openIDs
		open := map[uint16]int64{}
		for now := range int64(rapid.IntRange(1, 600).Draw(t, "steps")) {
			if len(open) > 0 && rapid.IntRange(0, 2).Draw(t, "answer") == 0 {
				id := rapid.SampledFrom(slices.Sorted(maps.Keys(open))).Draw(t, "id")
				if sent, ok := ids.free(id); !ok || sent != open[id] {
					t.Fatalf("free(%d) = %d, %v; want %d", id, sent, ok, open[id])
				}
				delete(open, id)
				continue
			}
			id := ids.take(now)
			if _, taken := open[id]; taken || id == 0 {
				t.Fatalf("%d was given while it is open", id)
			}
			open[id] = now
		}
		if ids.used != len(open) {
			t.Fatalf("%d in use, want %d", ids.used, len(open))
		}
	})
}
