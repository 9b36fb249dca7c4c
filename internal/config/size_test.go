package config

import "testing"

func TestParseSize(t *testing.T) {
	for text, want := range map[string]Size{
		"0": 0, "512": 512, "512B": 512, "64KiB": 64 * KiB, "64 kib": 64 * KiB, "1MiB": MiB, "2GiB": 2 * GiB,
		"10KB": 10_000, "10MB": 10_000_000, "1GB": 1_000_000_000, "-1": -1,
	} {
		got, err := ParseSize(text)
		if err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v, want %d", text, got, err, want)
		}
		if again, err := ParseSize(got.String()); err != nil || again != got {
			t.Errorf("String of %d is %q, which parses to %d, %v", got, got, again, err)
		}
	}
	for _, text := range []string{"", "KiB", "1TiBB", "1.5MiB", "one", "9223372036854775808", "9007199254740993KiB"} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("ParseSize(%q) = %d, want an error", text, got)
		}
	}
}

func TestNearest(t *testing.T) {
	keys := []string{"packet", "connect_timeout", "keep_alive_max", "in_flight"}
	for word, want := range map[string]string{
		"pakcet": "packet", "Packet": "packet", "connectTimeout": "connect_timeout", "keepalive": "keep_alive_max",
		"in-flight": "in_flight", "retained": "", "x": "", "": "",
	} {
		if got := nearest(word, keys); got != want {
			t.Errorf("nearest(%q) = %q, want %q", word, got, want)
		}
	}
}
