package cli

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"strings"
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
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: shorten}
	if c.Format == config.FormatJSON {
		return slog.New(slog.NewJSONHandler(visible{w}, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// longest is how many bytes of a value are logged. A client id may have 64 KiB,
// and who is refused may come again at once.
const longest = 512

// shorten cuts a long text.
func shorten(_ []string, a slog.Attr) slog.Attr {
	text := ""
	switch v := a.Value; v.Kind() {
	case slog.KindString:
		text = v.String()
	case slog.KindAny:
		if err, ok := v.Any().(error); ok {
			text = err.Error()
		}
	default:
	}
	if len(text) > longest {
		a.Value = slog.StringValue(fmt.Sprintf("%s… (%d bytes)", strings.ToValidUTF8(text[:longest], ""), len(text)))
	}
	return a
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
