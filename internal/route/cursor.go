package route

import (
	"strings"

	"github.com/fantail-mqtt/fantail/topic"
)

// Cursor is how far a walk over the retained messages has come: the place
// that it goes on from and no hold on the store. A walk that is given up
// needs no end. Don't use a copy of a Cursor along with the original.
type Cursor struct {
	path string
	all  bool   // every name, whatever path says
	done bool   // nothing is left
	from []byte // the first name that may be next
}

// Iterate begins a walk over the names that a valid filter path matches.
func (r *Retained[V]) Iterate(path string) Cursor {
	c := Cursor{path: path}
	c.literals(path)
	return c
}

// IterateAll begins a walk over all names, those that begin with $ included.
func (r *Retained[V]) IterateAll() Cursor { return Cursor{all: true} }

// exact reports whether the walk is one look-up.
func (c *Cursor) exact() bool { return !c.all && !topic.Wildcard(c.path) }

// pass takes the next name in the order, reports whether the filter matches
// it, and moves on to the least name after it that could match.
func (c *Cursor) pass(name string) (match bool) {
	if c.all {
		c.behind(name)
		return true
	}
	path := c.path
	if name[0] == '$' && (path[0] == '+' || path[0] == '#') { // [MQTT-4.7.2-1]
		c.from = append(c.from[:0], pastDollar)
		return false
	}
	for begin := 0; ; {
		want, rest, more := strings.Cut(path, "/")
		if want == "#" {
			c.behind(name)
			return true
		}
		end := len(name)
		if i := strings.IndexByte(name[begin:], '/'); i >= 0 {
			end = begin + i
		}
		if level := name[begin:end]; want != "+" && want != level {
			c.miss(name[:begin], path, level < want)
			return false
		}
		switch last := end == len(name); {
		case !more: // nothing below can match
			c.leave(name[:end])
			return last
		case last:
			c.behind(name)
			c.literals(rest)
			return rest == "#"
		}
		path, begin = rest, end+1
	}
}

// miss moves on from a name whose level after prefix is not the literal one
// that path begins with: to that level, or past all names with the prefix.
func (c *Cursor) miss(prefix, path string, ahead bool) {
	switch {
	case ahead:
		c.from = append(c.from[:0], prefix...)
		c.literals(path)
	case prefix == "":
		c.done = true
	default:
		c.leave(prefix[:len(prefix)-1])
	}
}

// literals adds the first levels of path, up to the first wildcard.
func (c *Cursor) literals(path string) {
	switch wild := strings.IndexAny(path, "+#"); wild {
	case -1:
		c.from = append(c.from, path...)
	case 0:
	default:
		c.from = append(c.from, path[:wild-1]...)
	}
}

// leave moves on past a name and everything below it.
func (c *Cursor) leave(name string) {
	c.from = append(append(c.from[:0], name...), pastSubtree)
}

// behind moves on, or back, to what follows a name.
func (c *Cursor) behind(name string) {
	c.done = false
	c.from = append(append(c.from[:0], name...), '/')
}
