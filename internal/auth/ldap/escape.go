package ldap

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// escape writes a value so that it is nothing but a value, in a distinguished
// name as in a filter: both take a backslash with two hexadecimal digits for
// any octet (RFC 4514, section 2.4; RFC 4515, section 3). What is neither a
// letter nor a digit is written so, needed or not: no list of dangerous
// characters can then lack one.
func escape(value string) string {
	var b strings.Builder
	for len(value) > 0 {
		r, n := utf8.DecodeRuneInString(value)
		if r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsDigit(r)) {
			b.WriteString(value[:n])
		} else {
			for _, octet := range []byte(value[:n]) {
				fmt.Fprintf(&b, `\%02x`, octet)
			}
		}
		value = value[n:]
	}
	return b.String()
}

// plainName says whether a directory can tell the name from others: it takes
// no notice of spaces around a name, nor of how many there are inside (RFC
// 4518, section 2.6.1), so that one user would have many names.
func plainName(name string) bool {
	return name != "" && utf8.ValidString(name) && strings.Join(strings.Fields(name), " ") == name &&
		!strings.ContainsFunc(name, unicode.IsControl)
}
