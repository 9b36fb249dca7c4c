// Package topic knows topic names and topic filters: which are valid, what a
// filter asks for and which names it matches.
//
// A name or filter is a row of levels between slashes; levels may be empty, so
// "/a" has two. A filter may hold wildcards: + stands for exactly one level, #
// for any number of last levels, its own parent included. Names that begin
// with $ are the server's own and stay hidden from filters that begin with a
// wildcard [MQTT-4.7.2-1]. Three prefixes change what a subscription is rather
// than what it matches: $share/<group>/, $queue/ and $local/; ParseFilter takes
// them off.
//
// Everything compares bytes as they are [MQTT-4.7.3-4]. That they are UTF-8 is
// the packet codec's check, as for every other string.
package topic

import (
	"errors"
	"fmt"
	"strings"
)

// MaxBytes is the longest name or filter [MQTT-4.7.3-3].
const MaxBytes = 65535

var (
	errEmptyName   = errors.New("the topic name is empty")
	errEmptyFilter = errors.New("the topic filter is empty")
)

// ValidName says what is wrong with name as the topic of a message: it is
// empty [MQTT-4.7.3-1], holds U+0000 [MQTT-4.7.3-2] or a wildcard
// [MQTT-3.3.2-2], is too long, or has more than maxLevels levels (0: any
// number). It allocates only to tell of a fault.
func ValidName[S ~string | ~[]byte](name S, maxLevels int) error {
	if len(name) == 0 {
		return errEmptyName
	}
	if len(name) > MaxBytes {
		return fmt.Errorf("the topic name is %d bytes long, the limit is %d", len(name), MaxBytes)
	}
	levels := 1
	for i := 0; i < len(name); i++ {
		c := name[i]
		if c > '/' { // every byte of interest is a small one: most end here
			continue
		}
		switch c {
		case '/':
			levels++
		case '+', '#':
			return fmt.Errorf("the topic name holds the wildcard %c at byte %d; wildcards are for filters only", c, i)
		case 0:
			return fmt.Errorf("the topic name holds U+0000 at byte %d", i)
		}
	}
	return checkLevels("topic name", levels, maxLevels)
}

// Levels counts the levels of a name or of a filter's path.
func Levels(s string) int { return strings.Count(s, "/") + 1 }

func checkLevels(what string, levels, most int) error {
	if most > 0 && levels > most {
		return fmt.Errorf("the %s has %d levels, the limit is %d", what, levels, most)
	}
	return nil
}
