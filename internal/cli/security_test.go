package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/fantail-mqtt/fantail/internal/config"
)

// What a client says of itself stays inside its line of the log, and says
// nothing to the terminal that shows it.
func TestLogLinesCannotBeForged(t *testing.T) {
	hostile := []string{
		"x\ntime=2026-01-01T00:00:00Z level=INFO msg=\"client connected\" client=root",
		"x\r\nlevel=ERROR", "x\x1b[2J\x1b[1;31mALL IS LOST\x1b[0m", "x\x1b]0;title\a", "\x00", "x\x7f\b\b\b", "x\u009b31m", "x\u2028y\u2029z",
		"x\u202egnp.exe", `x" level=ERROR y="`, "x=y z", "\xff\xfe", "x\u0085y", "", "{}", `","level":"ERROR","x":"`,
	}
	for _, format := range []string{config.FormatText, config.FormatJSON} {
		var b bytes.Buffer
		log := newLogger(&b, config.Log{Level: "info", Format: format})
		for _, h := range hostile {
			b.Reset()
			log.Info("connection refused", slog.String("client", h), slog.Any("err", errors.New(h)))
			line := b.String()
			if strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "\n") {
				t.Errorf("%s: %q takes more than a line: %q", format, h, line)
			}
			for _, r := range strings.TrimSuffix(line, "\n") {
				if r < ' ' || r >= 0x7f && r <= 0x9f || r == 0x2028 || r == 0x2029 || r == 0x202e {
					t.Errorf("%s: %q reaches the log with %U", format, h, r)
				}
			}
			if format != config.FormatJSON {
				continue
			}
			var parsed struct{ Level, Client, Err string }
			if err := json.Unmarshal(b.Bytes(), &parsed); err != nil || parsed.Level != "INFO" {
				t.Errorf("%q became %+v, %v", h, parsed, err)
			}
			if utf8.ValidString(h) && parsed.Client != h {
				t.Errorf("%q became %q", h, parsed.Client)
			}
		}
	}
}

// A long client id is cut: who is refused again and again does not fill the
// disk with it.
func TestLongValuesAreCutInTheLog(t *testing.T) {
	for _, format := range []string{config.FormatText, config.FormatJSON} {
		for _, c := range []string{"x", "\x01", "ä", "\xff"} {
			var b bytes.Buffer
			log := newLogger(&b, config.Log{Level: "info", Format: format})
			long := strings.Repeat(c, 65_535/len(c))
			log.Info("connection refused", slog.String("client", long), slog.Any("err", errors.New(long)), slog.Int("n", 7))
			if line := b.String(); len(line) > 8<<10 || !strings.Contains(line, "bytes)") || !strings.Contains(line, "7") {
				t.Errorf("%s: %d bytes are logged: %.100q", format, len(line), line)
			}
		}
	}
}
