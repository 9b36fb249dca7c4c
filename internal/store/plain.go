package store

import "strings"

// plain makes an error of Pebble's one line that says what is wrong, in text and in
// logs: without the stack, and the parts that only carry details.
func plain(err error) error {
	if err == nil {
		return nil
	}
	var said []string
	for line := range strings.Lines(err.Error()) {
		line = strings.TrimSpace(strings.ReplaceAll(line, "pebble: ", ""))
		if line == "" || line == "<corruption detail carrier>" {
			continue
		}
		if n := len(said); n == 0 || said[n-1] != line {
			said = append(said, line)
		}
	}
	return &plainError{strings.Join(said, "; "), err}
}

// plainError hides how an error formats itself.
type plainError struct {
	text string
	err  error
}

func (e *plainError) Error() string { return e.text }

func (e *plainError) Unwrap() error { return e.err }
