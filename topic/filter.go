package topic

import (
	"errors"
	"fmt"
	"strings"
)

// Kind says what a subscription is, apart from what it matches.
type Kind uint8

// The kinds of subscription.
const (
	Plain  Kind = iota
	Shared      // $share/<group>/<filter>: one member of the group gets each message
	Queue       // $queue/<filter>: shared by the group that has no name
	Local       // $local/<filter>: plain, and never crosses nodes
)

// String names the kind for logs.
func (k Kind) String() string {
	switch k {
	case Shared:
		return "shared"
	case Queue:
		return "queue"
	case Local:
		return "local"
	default:
		return "plain"
	}
}

const (
	sharePrefix = "$share"
	queuePrefix = "$queue"
	localPrefix = "$local"
)

// Filter is a topic filter taken apart. Its strings share the memory of the
// string it was parsed from.
type Filter struct {
	Full  string // as the client wrote it; names the subscription
	Path  string // the part that names are matched with
	Group string // the share name; empty unless Kind is Shared
	Kind  Kind
}

// Wildcard reports whether the filter can match more than one name.
func (f Filter) Wildcard() bool { return Wildcard(f.Path) }

// IsShared reports whether the members of a group divide the messages among
// them; true of Shared and Queue.
func (f Filter) IsShared() bool { return f.Kind == Shared || f.Kind == Queue }

// Wildcard reports whether a valid filter path can match more than one name.
func Wildcard(path string) bool {
	return strings.HasSuffix(path, "#") || strings.IndexByte(path, '+') >= 0
}

// ParseFilter takes a filter apart, or says what is wrong with it. maxLevels
// bounds the levels of its path (0: any number). A prefix may not follow a
// prefix: what "$share/g/$local/a" should mean would be anyone's guess.
func ParseFilter(s string, maxLevels int) (Filter, error) {
	f := Filter{Full: s, Path: s}
	if s == "" {
		return f, errEmptyFilter
	}
	if len(s) > MaxBytes {
		return f, fmt.Errorf("the topic filter is %d bytes long, the limit is %d", len(s), MaxBytes)
	}
	if i := strings.IndexByte(s, 0); i >= 0 {
		return f, fmt.Errorf("the topic filter holds U+0000 at byte %d", i)
	}
	if s[0] == '$' {
		if err := f.cutPrefix(); err != nil {
			return f, err
		}
	}
	return f, checkPath(f.Path, maxLevels)
}

// cutPrefix finds the kind of a filter that begins with $.
func (f *Filter) cutPrefix() error {
	prefix, rest, _ := strings.Cut(f.Full, "/")
	switch prefix {
	case sharePrefix:
		return f.cutGroup(rest)
	case queuePrefix:
		f.Kind = Queue
	case localPrefix:
		f.Kind = Local
	default:
		return nil
	}
	return f.setPath(prefix, rest)
}

// cutGroup reads what follows "$share/": a name of at least one character
// [MQTT-4.8.2-1] without wildcards, then a filter [MQTT-4.8.2-2].
func (f *Filter) cutGroup(rest string) error {
	group, path, _ := strings.Cut(rest, "/")
	if group == "" {
		return errors.New("the shared subscription names no group; it is written $share/<group>/<filter>")
	}
	if i := strings.IndexAny(group, "+#"); i >= 0 {
		return fmt.Errorf("the group name of the shared subscription holds the wildcard %c", group[i])
	}
	f.Kind, f.Group = Shared, group
	return f.setPath(sharePrefix+"/"+group, path)
}

func (f *Filter) setPath(before, path string) error {
	if path == "" {
		return fmt.Errorf("no topic filter follows %s/", before)
	}
	switch inner, _, _ := strings.Cut(path, "/"); inner {
	case sharePrefix, queuePrefix, localPrefix:
		return fmt.Errorf("%s cannot follow %s/", inner, before)
	}
	f.Path = path
	return nil
}

// checkPath holds the rules for wildcards: each fills a whole level
// [MQTT-4.7.1-2, -3 in 3.1.1], and # is the last one [MQTT-4.7.1-1].
func checkPath(path string, maxLevels int) error {
	levels := 1
	for i := 0; i < len(path); i++ {
		switch path[i] {
		case '/':
			levels++
		case '#':
			if i != len(path)-1 {
				return fmt.Errorf("the topic filter goes on after # at byte %d of %q", i, shown(path))
			}
			if i > 0 && path[i-1] != '/' {
				return fmt.Errorf("# does not fill its level at byte %d of %q", i, shown(path))
			}
		case '+':
			if i > 0 && path[i-1] != '/' || i+1 < len(path) && path[i+1] != '/' {
				return fmt.Errorf("+ does not fill its level at byte %d of %q", i, shown(path))
			}
		}
	}
	return checkLevels("topic filter", levels, maxLevels)
}

// shown keeps a hostile filter from filling the log.
func shown(path string) string {
	const most = 80
	if len(path) <= most {
		return path
	}
	return path[:most] + "..."
}

// Match reports whether a valid filter path matches a valid name.
func Match(path, name string) bool {
	if path == "" || name == "" {
		return false
	}
	if name[0] == '$' && (path[0] == '+' || path[0] == '#') {
		return false // [MQTT-4.7.2-1]
	}
	for {
		want, pathRest, pathMore := strings.Cut(path, "/")
		if want == "#" {
			return true
		}
		level, nameRest, nameMore := strings.Cut(name, "/")
		if want != "+" && want != level {
			return false
		}
		if !nameMore { // a last /# also stands for its parent
			return !pathMore || pathRest == "#"
		}
		if !pathMore {
			return false
		}
		path, name = pathRest, nameRest
	}
}
