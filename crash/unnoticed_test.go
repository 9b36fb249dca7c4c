package crash

import (
	"path/filepath"
	"testing"
)

// TestDamageThatPebbleDoesNotNotice is refused before Pebble makes it worse.
func TestDamageThatPebbleDoesNotNotice(t *testing.T) {
	o := newOriginal(t)
	for _, in := range []injury{
		{name: "the manifest is damaged", do: damagedManifest, refuses: true, hurt: "anz", aside: true},
		{name: "the logs are missing", do: remove("*.log"), refuses: true, hurt: "z"},
	} {
		t.Run(in.name, func(t *testing.T) { in.inflict(t, o) })
	}
}

// damagedManifest flips bytes near the beginning of the manifest in use: behind them
// there are whole records.
func damagedManifest(t *testing.T, dir string) {
	list := files(t, dir, "MANIFEST-*")
	name := filepath.Base(list[len(list)-1])
	spoil(name, func(b []byte) []byte {
		for i := range 8 {
			b[60+i] ^= 0x5a
		}
		return b
	})(t, dir)
}
