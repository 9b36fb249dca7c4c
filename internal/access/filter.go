package access

import (
	"bytes"
	"strings"
)

// A filter stands for the set of the names that it matches. A rule that allows
// has to cover what is asked for, one that denies has to overlap it: a
// subscription to home/# would otherwise pass by a rule that denies home/safe.
// A name is a filter without wildcards, which is covered if it is matched.

// The parent of /# would be the empty name, which is none. So it is the same as
// a filter that does not speak of a parent.
const (
	noParent      = "/#"
	noParentPlain = "/+/#"
)

// covers says whether the filter matches every name that path matches.
func covers(filter []byte, path string) bool {
	if len(filter) == 0 || path == "" || hides(filter, path) {
		return false
	}
	if string(filter) == "+/#" { // every name has a first level
		filter = filter[2:]
	}
	if path == noParent {
		path = noParentPlain
	}
	for {
		want, filterRest, filterMore := bytes.Cut(filter, []byte{'/'})
		if string(want) == "#" {
			return true
		}
		level, pathRest, pathMore := strings.Cut(path, "/")
		if level == "#" || string(want) != "+" && string(want) != level {
			return false
		}
		if !pathMore { // a last /# also stands for its parent
			return !filterMore || string(filterRest) == "#"
		}
		if !filterMore {
			return false
		}
		filter, path = filterRest, pathRest
	}
}

// overlaps says whether there is a name that both match.
func overlaps(filter []byte, path string) bool {
	if len(filter) == 0 || path == "" || hides(filter, path) || filter[0] == '$' && wild(path[0]) {
		return false
	}
	if path == noParent {
		path = noParentPlain
	}
	if string(filter) == noParent {
		filter = []byte(noParentPlain)
	}
	for {
		want, filterRest, filterMore := bytes.Cut(filter, []byte{'/'})
		level, pathRest, pathMore := strings.Cut(path, "/")
		if string(want) == "#" || level == "#" {
			return true
		}
		if string(want) != "+" && level != "+" && string(want) != level {
			return false
		}
		switch {
		case !filterMore && !pathMore:
			return true
		case !filterMore:
			return pathRest == "#"
		case !pathMore:
			return string(filterRest) == "#"
		}
		filter, path = filterRest, pathRest
	}
}

// hides says whether the path is hidden from the filter, which begins with a
// wildcard [MQTT-4.7.2-1].
func hides(filter []byte, path string) bool { return path[0] == '$' && wild(filter[0]) }

func wild(c byte) bool { return c == '+' || c == '#' }
