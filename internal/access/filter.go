package access

import (
	"bytes"
	"strings"
)

// A filter stands for the set of the names that it matches. A rule that allows
// has to cover what is asked for, one that denies has to overlap it: a
// subscription to home/# would otherwise pass by a rule that denies home/safe.
// A name is a filter without wildcards, which is covered if it is matched.

// covers says whether the filter matches every name that path matches.
func covers(filter []byte, path string) bool {
	if len(filter) == 0 || path == "" || hides(filter, path) {
		return false
	}
	if string(filter) == "+/#" { // every name has a first level
		filter = filter[2:]
	}
	for {
		want, filterRest, filterMore := cut(filter)
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
	for {
		want, filterRest, filterMore := cut(filter)
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

// cut is bytes.Cut at the first slash.
func cut(filter []byte) (level, rest []byte, more bool) {
	if i := bytes.IndexByte(filter, '/'); i >= 0 {
		return filter[:i], filter[i+1:], true
	}
	return filter, nil, false
}
