package cli

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"unicode"
	"unicode/utf8"

	"github.com/fantail-mqtt/fantail/internal/config"
)

// newLogger writes what is logged as the configuration says. What a client
// says of itself is in it: no character of that ends a line or speaks to a
// terminal.
func newLogger(w io.Writer, c config.Log) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		level = slog.LevelInfo
	}
	options := &slog.HandlerOptions{Level: level}
	if c.Format == config.FormatJSON {
		return slog.New(slog.NewJSONHandler(visible{w}, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// visible escapes in JSON what encoding/json leaves as it is although a
// terminal takes it for a command: DEL, the C1 controls, and those that turn the
// direction of writing. slog's text has only what can be seen.
type visible struct{ w io.Writer }

func (v visible) Write(b []byte) (int, error) {
	if !bytes.ContainsFunc(b, commands) {
		return v.w.Write(b)
	}
	out := make([]byte, 0, 2*len(b))
	for _, r := range string(b) {
		if commands(r) {
			out = fmt.Appendf(out, `\u%04x`, r)
			continue
		}
		out = utf8.AppendRune(out, r)
	}
	_, err := v.w.Write(out)
	return len(b), err
}

func commands(r rune) bool {
	return r != '\n' && unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)
}
