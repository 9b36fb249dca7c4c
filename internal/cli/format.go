package cli

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/fantail-mqtt/fantail/client"
)

// format is a parsed -F, in mosquitto's language: %t is the topic, @H the
// hour, \n a line end. A % may have a flag (- fills up on the right, 0 with
// zeros), a width and a precision, as in printf.
type format []piece

// piece is literal text, or else what stands for a part of the message.
type piece struct {
	text      string
	kind      byte // 0: text; '%' and '@': verb says what
	verb      byte
	left      bool
	zeros     bool
	width     int
	precision int // -1: none
}

// mostWidth keeps a format from filling the memory.
const mostWidth = 10_000

// parseFormat reads a -F.
func parseFormat(s string) (format, error) {
	var f format
	var text strings.Builder
	flush := func() {
		if text.Len() > 0 {
			f = append(f, piece{text: text.String()})
			text.Reset()
		}
	}
	for s != "" {
		c := s[0]
		s = s[1:]
		if c != '%' && c != '@' && c != '\\' {
			text.WriteByte(c)
			continue
		}
		if s == "" {
			return nil, fmt.Errorf("nothing follows the %c at the end", c)
		}
		if s[0] == c {
			text.WriteByte(c)
			s = s[1:]
			continue
		}
		if c == '\\' {
			b, err := escape(s[0])
			if err != nil {
				return nil, err
			}
			text.WriteByte(b)
			s = s[1:]
			continue
		}
		flush()
		p, rest, err := parsePiece(c, s)
		if err != nil {
			return nil, err
		}
		f = append(f, p)
		s = rest
	}
	flush()
	return f, nil
}

func escape(c byte) (byte, error) {
	switch c {
	case '0':
		return 0, nil
	case 'a':
		return '\a', nil
	case 'e':
		return 0x1B, nil
	case 'n':
		return '\n', nil
	case 'r':
		return '\r', nil
	case 't':
		return '\t', nil
	case 'v':
		return '\v', nil
	default:
		return 0, fmt.Errorf(`\%c means nothing: use \0 \a \e \n \r \t \v \\`, c)
	}
}

const (
	verbs = "AtplqrmxXCDEFPRSIUjJ"
	times = "aAbBcCdDeFgGhHIjklmMnNpPrRsStTuUVwWxXyYzZ"
)

// parsePiece reads what follows % or @.
func parsePiece(kind byte, s string) (piece, string, error) {
	p := piece{kind: kind, precision: -1}
	if kind == '@' {
		p.verb = s[0]
		if strings.IndexByte(times, p.verb) < 0 {
			return p, s, fmt.Errorf("@%c means nothing: after @ stands what strftime knows, or N for nanoseconds", s[0])
		}
		return p, s[1:], nil
	}
	for ; s != "" && (s[0] == '-' || s[0] == '0'); s = s[1:] {
		p.left = p.left || s[0] == '-'
		p.zeros = p.zeros || s[0] == '0'
	}
	var err error
	if p.width, s, err = size(s); err != nil {
		return p, s, err
	}
	if rest, ok := strings.CutPrefix(s, "."); ok {
		if p.precision, s, err = size(rest); err != nil {
			return p, s, err
		}
	}
	if s == "" {
		return p, s, errors.New("nothing follows the % at the end")
	}
	p.verb = s[0]
	if strings.IndexByte(verbs, p.verb) < 0 {
		return p, s, fmt.Errorf("%%%c means nothing: use one of %%%s", s[0], strings.Join(strings.Split(verbs, ""), " %"))
	}
	return p, s[1:], nil
}

func size(s string) (int, string, error) {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	if n == 0 {
		return 0, s, nil
	}
	x, err := strconv.Atoi(s[:n])
	if err != nil || x > mostWidth {
		return 0, s, fmt.Errorf("the width %s is above %d", s[:n], mostWidth)
	}
	return x, s[n:], nil
}

// append writes the message that came at now.
func (f format) append(dst []byte, m *client.Message, now time.Time, pretty bool) []byte {
	for i := range f {
		p := &f[i]
		switch p.kind {
		case 0:
			dst = append(dst, p.text...)
		case '@':
			dst = append(dst, strftime(p.verb, now)...)
		default:
			dst = p.fill(dst, p.value(m, now, pretty))
		}
	}
	return dst
}

// value is what a % stands for, as bytes.
func (p *piece) value(m *client.Message, now time.Time, pretty bool) []byte {
	payload := m.Payload
	switch p.verb {
	case 'p', 'x', 'X':
		if p.precision >= 0 {
			payload = payload[:min(p.precision, len(payload))]
		}
	}
	switch p.verb {
	case 'p':
		return payload
	case 'x':
		return []byte(hex.EncodeToString(payload))
	case 'X':
		return bytes.ToUpper([]byte(hex.EncodeToString(payload)))
	case 'j':
		return asJSON(m, now, false, pretty)
	case 'J':
		return asJSON(m, now, true, pretty)
	default:
		return p.cut(p.word(m, now))
	}
}

// cut shortens text to the precision, at a whole character.
func (p *piece) cut(text string) []byte {
	if p.precision < 0 || len(text) <= p.precision {
		return []byte(text)
	}
	n := p.precision
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return []byte(text[:n])
}

// word is a short value. A property that the message does not have is empty,
// as with mosquitto.
func (p *piece) word(m *client.Message, now time.Time) string {
	switch p.verb {
	case 't':
		return m.Topic
	case 'l':
		return strconv.Itoa(len(m.Payload))
	case 'q':
		return strconv.Itoa(int(m.QoS))
	case 'r':
		return oneIf(m.Retain)
	case 'm':
		return strconv.Itoa(int(m.ID))
	case 'I':
		return now.Format(time.RFC3339)
	case 'U':
		return fmt.Sprintf("%d.%09d", now.Unix(), now.Nanosecond())
	case 'A':
		return present(m.Alias > 0, uint64(m.Alias))
	case 'C':
		return m.ContentType
	case 'D':
		return string(m.CorrelationData)
	case 'E':
		return present(m.HasExpiry, uint64(m.Expiry))
	case 'F':
		return present(m.HasPayloadFormat, uint64(m.PayloadFormat))
	case 'P':
		var users []string
		for _, u := range m.User {
			users = append(users, u.Key+":"+u.Value)
		}
		return strings.Join(users, " ")
	case 'R':
		return m.ResponseTopic
	default: // 'S'
		var ids []string
		for _, id := range m.SubscriptionIDs {
			ids = append(ids, strconv.Itoa(int(id)))
		}
		return strings.Join(ids, " ")
	}
}

// fill brings value to the width.
func (p *piece) fill(dst, value []byte) []byte {
	short := p.width - utf8.RuneCount(value)
	if short <= 0 {
		return append(dst, value...)
	}
	if p.left {
		return append(append(dst, value...), bytes.Repeat([]byte{' '}, short)...)
	}
	with := byte(' ')
	if p.zeros {
		with = '0'
	}
	return append(append(dst, bytes.Repeat([]byte{with}, short)...), value...)
}

func oneIf(x bool) string {
	if x {
		return "1"
	}
	return "0"
}

func present(has bool, n uint64) string {
	if !has {
		return ""
	}
	return strconv.FormatUint(n, 10)
}
