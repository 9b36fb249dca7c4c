package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Mistake is one thing wrong with a configuration.
type Mistake struct {
	Line int    // where in the file; 0 when it has no line
	Key  string // such as limits.packet or listeners[1].cert; may be empty
	Text string // what is wrong, and where it can be said, what to write
}

// Error holds every mistake of a configuration, in the order of the file.
type Error struct {
	File     string // its name; empty when there is none
	Mistakes []Mistake
}

// Error writes each mistake on a line of its own, as FILE:LINE: KEY: TEXT.
func (e *Error) Error() string {
	lines := make([]string, 0, len(e.Mistakes))
	for _, m := range e.Mistakes {
		lines = append(lines, e.place(m)+m.String())
	}
	return strings.Join(lines, "\n")
}

func (e *Error) place(m Mistake) string {
	switch {
	case e.File != "" && m.Line > 0:
		return fmt.Sprintf("%s:%d: ", e.File, m.Line)
	case e.File != "":
		return e.File + ": "
	case m.Line > 0:
		return fmt.Sprintf("line %d: ", m.Line)
	}
	return ""
}

// String writes the mistake without its place.
func (m Mistake) String() string {
	if m.Key == "" {
		return m.Text
	}
	return m.Key + ": " + m.Text
}

// asError makes an error of mistakes, and nil of none.
func asError(file string, mistakes []Mistake) error {
	if len(mistakes) == 0 {
		return nil
	}
	slices.SortStableFunc(mistakes, func(a, b Mistake) int { return cmp.Compare(a.Line, b.Line) })
	return &Error{File: file, Mistakes: mistakes}
}
