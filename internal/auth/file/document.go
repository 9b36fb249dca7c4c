package file

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/fantail-mqtt/fantail/internal/auth/hash"
)

// Document is the text of a password file, as it stands: who changes an entry
// leaves the comments, the order and the other lines alone.
type Document struct {
	lines []line
	// unended says that the last line has no end.
	unended bool
}

// line is one of a Document. Without a name it is a comment, empty, or wrong.
type line struct {
	text  string // without its end
	name  string
	kept  string // the hash, or a password in plain text
	wrong string // what is wrong; empty: nothing
}

// Entry is a user of a password file.
type Entry struct {
	Name string
	Kept string // the hash
	Line int    // where, from 1 on
}

// ParseDocument takes in any text.
func ParseDocument(text []byte) *Document {
	d := &Document{}
	text = bytes.TrimLeft(text, "\ufeff") // what Windows' editor begins with, perhaps twice
	if len(text) == 0 {
		return d
	}
	d.unended = text[len(text)-1] != '\n'
	first := map[string]int{}
	for i, t := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
		l := parseLine(t)
		if at, twice := first[l.name]; twice && l.name != "" && l.wrong == "" {
			l.wrong = fmt.Sprintf("%q is in line %d already: remove one of the two", l.name, at)
		}
		if _, twice := first[l.name]; !twice {
			first[l.name] = i + 1
		}
		d.lines = append(d.lines, l)
	}
	return d
}

// parseLine reads a line: a comment, or name:hash with blanks around them, as
// mosquitto does.
func parseLine(text string) line {
	l := line{text: text}
	trimmed := strings.TrimSpace(text)
	if trimmed == "" || trimmed[0] == '#' {
		return l
	}
	name, kept, found := strings.Cut(trimmed, ":")
	if !found {
		l.wrong = "there is no colon: write name:hash, or # before a comment"
		return l
	}
	l.name, l.kept = strings.TrimSpace(name), strings.TrimSpace(kept)
	if err := CheckName(l.name); err != nil {
		l.wrong = err.Error()
		return l
	}
	if l.kept == "" {
		l.wrong = fmt.Sprintf("%q has no password", l.name)
		return l
	}
	switch _, err := hash.Parse(l.kept); {
	case errors.Is(err, hash.ErrNoHash):
		l.wrong = fmt.Sprintf("the password of %q is no hash: if it is plain text, run fantail passwd -U on this file", l.name)
	case err != nil:
		l.wrong = fmt.Sprintf("the hash of %q cannot be taken: %v", l.name, err)
	}
	return l
}

// CheckName says whether a name can stand in a password file.
func CheckName(name string) error {
	switch {
	case name == "":
		return errors.New("the user name is empty")
	case strings.Contains(name, ":"):
		return errors.New("a user name in a password file cannot have a colon")
	case strings.TrimSpace(name) != name:
		return errors.New("a user name in a password file cannot begin or end with a blank")
	case strings.HasPrefix(name, "\ufeff"): // in the first line it would be taken for the mark of an editor
		return errors.New("a user name in a password file cannot begin with a byte order mark")
	case name[0] == '#':
		return errors.New("a user name in a password file cannot begin with #, which begins a comment")
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return errors.New("the user name is not UTF-8 text without control characters")
	case len(name) > 65_535: // [MQTT-1.5.4-1]
		return errors.New("the user name is longer than 65,535 bytes")
	}
	return nil
}

// Entries are the users, in the order of the file. The error is an *Error with
// every mistake.
func (d *Document) Entries() ([]Entry, error) {
	list := make([]Entry, 0, len(d.lines))
	var wrong []Mistake
	for i, l := range d.lines {
		if l.wrong != "" {
			wrong = append(wrong, Mistake{Line: i + 1, Text: l.wrong})
			continue
		}
		if l.name != "" {
			list = append(list, Entry{Name: l.name, Kept: l.kept, Line: i + 1})
		}
	}
	if len(wrong) > 0 {
		return nil, &Error{Mistakes: wrong}
	}
	return list, nil
}

// Set gives a user a hash: in its line, where there is one, else in a new line
// at the end.
func (d *Document) Set(name, kept string) (added bool) {
	l := parseLine(name + ":" + kept)
	for i := range d.lines {
		if d.lines[i].name == name {
			ended := strings.HasSuffix(d.lines[i].text, "\r")
			d.lines[i] = l
			if ended {
				d.lines[i].text += "\r"
			}
			return false
		}
	}
	d.lines, d.unended = append(d.lines, l), false
	return true
}

// Delete removes the lines of a user.
func (d *Document) Delete(name string) (found bool) {
	if name == "" {
		return false // what has no name is a comment
	}
	before := len(d.lines)
	d.lines = slices.DeleteFunc(d.lines, func(l line) bool { return l.name == name })
	return len(d.lines) < before
}

// Plain are the users whose password stands in plain text. The error is an
// *Error with each line that is neither that nor right: one that begins like a
// hash and is none is not taken for a password.
func (d *Document) Plain() ([]Entry, error) {
	var list []Entry
	var wrong []Mistake
	for i, l := range d.lines {
		if l.wrong == "" {
			continue
		}
		_, err := hash.Parse(l.kept)
		if l.name == "" || l.kept == "" || CheckName(l.name) != nil || !errors.Is(err, hash.ErrNoHash) {
			wrong = append(wrong, Mistake{Line: i + 1, Text: l.wrong})
			continue
		}
		list = append(list, Entry{Name: l.name, Kept: l.kept, Line: i + 1})
	}
	if len(wrong) > 0 {
		return nil, &Error{Mistakes: wrong}
	}
	return list, nil
}

// Bytes is the text.
func (d *Document) Bytes() []byte {
	var b bytes.Buffer
	for i, l := range d.lines {
		b.WriteString(l.text)
		if i < len(d.lines)-1 || !d.unended {
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}

// Mistake is one thing wrong with a password file.
type Mistake struct {
	Line int
	Text string
}

// Error holds every mistake of a password file, in its order.
type Error struct {
	File     string
	Mistakes []Mistake
}

// shown is how many mistakes are written out: a file that is something else
// altogether has one in each line.
const shown = 20

// Error writes each mistake on a line of its own, as FILE:LINE: TEXT.
func (e *Error) Error() string {
	var b strings.Builder
	for i, m := range e.Mistakes {
		if i == shown {
			fmt.Fprintf(&b, "\n%s: and %d more", e.File, len(e.Mistakes)-shown)
			break
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "%s:%d: %s", e.File, m.Line, m.Text)
	}
	return b.String()
}
