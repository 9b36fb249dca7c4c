package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// maxSecret bounds a file whose text is a value.
const maxSecret = 64 << 10

// expand puts in what ${env:NAME} and ${file:path} stand for, wherever in a
// value. A relative path begins at dir; the newline at the end of a file is not
// part of its text. $${env: and $${file: stand for themselves with one $ less,
// and any other $ for itself: templates of backends have their own ${…}. What is
// put in is not looked at again.
func expand(text, dir string) (expanded string, err error) {
	if !strings.Contains(text, "${") {
		return text, nil
	}
	var b strings.Builder
	for rest := text; rest != ""; {
		kind, source := reference(rest)
		switch {
		case kind != "":
			name, after, ended := strings.Cut(source, "}")
			if !ended {
				return "", fmt.Errorf("${%s:… has no end: close it with }, or write $${ for ${", kind)
			}
			value, err := lookUp(kind, name, dir)
			if err != nil {
				return "", err
			}
			b.WriteString(value)
			rest = after
		case rest[0] == '$' && escaped(rest):
			b.WriteString("${")
			rest = rest[len("$${"):]
		default:
			b.WriteByte(rest[0])
			rest = rest[1:]
		}
	}
	return b.String(), nil
}

// reference says what kind of reference the text begins with, if any.
func reference(text string) (kind, source string) {
	for _, k := range []string{"env", "file"} {
		if source, ok := strings.CutPrefix(text, "${"+k+":"); ok {
			return k, source
		}
	}
	return "", ""
}

func escaped(text string) bool {
	kind, _ := reference(text[1:])
	return kind != ""
}

func lookUp(kind, name, dir string) (string, error) {
	if kind == "env" {
		value, ok := os.LookupEnv(name)
		if !ok {
			return "", fmt.Errorf("the environment has no %s: set it, or write $${ for ${", name)
		}
		return value, nil
	}
	if name == "" {
		return "", errors.New("${file:} names no file")
	}
	path := name
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	value, err := readValue(path)
	if err != nil {
		return "", fmt.Errorf("${file:%s}: %w", name, err)
	}
	return value, nil
}

// readValue reads a file that is a value. It takes no pipe or device, which
// might have no end.
func readValue(path string) (string, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("there is no file %s", path)
	}
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s is no regular file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxSecret+1))
	if err != nil {
		return "", err
	}
	if len(text) > maxSecret {
		return "", fmt.Errorf("%s is larger than 64 KiB", path)
	}
	value := strings.TrimSuffix(string(text), "\n")
	return strings.TrimSuffix(value, "\r"), nil
}

// unfit says that what the written text stands for does not fit into into.
func unfit(into any, written string) error {
	switch into.(type) {
	case *bool:
		return fmt.Errorf("%s stands for neither true nor false", written)
	case *int:
		return fmt.Errorf("%s does not stand for a whole number", written)
	case *Size:
		return fmt.Errorf("%s does not stand for a size, such as 64KiB or 1MiB", written)
	case *time.Duration:
		return fmt.Errorf("%s does not stand for a time, such as 10s, 5m or 1h30m", written)
	default:
		return fmt.Errorf("%s stands for a text that cannot be taken here", written)
	}
}

// expansion is a value as it was written, and as it is.
type expansion struct{ key, written, value string }

// conceal takes what came from the environment or a file out of the mistakes
// that were found with it.
func (r *reader) conceal() {
	for _, x := range r.expansions {
		for i := range r.mistakes {
			m := &r.mistakes[i]
			if x.value == "" || m.Key != x.key && !within(m.Key, x.key) && !within(x.key, m.Key) {
				continue
			}
			quoted := strconv.Quote(x.value)
			m.Text = strings.ReplaceAll(m.Text, quoted, x.written)
			m.Text = strings.ReplaceAll(m.Text, quoted[1:len(quoted)-1], x.written)
			m.Text = strings.ReplaceAll(m.Text, x.value, x.written)
		}
	}
}

// within says whether a key lies below another.
func within(key, above string) bool {
	rest, ok := strings.CutPrefix(key, above)
	return ok && rest != "" && (rest[0] == '.' || rest[0] == '[')
}
