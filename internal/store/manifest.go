package store

import (
	"encoding/binary"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// markerPrefix begins the name of the file whose name ends with that of the
// manifest, which names all other files of the database.
const markerPrefix = "marker.manifest."

// current is the name of the manifest, or "".
func current(names []string) string {
	slices.Sort(names)
	for _, name := range slices.Backward(names) {
		if rest, ok := strings.CutPrefix(name, markerPrefix); ok {
			_, manifest, _ := strings.Cut(rest, ".")
			return manifest
		}
	}
	return ""
}

// damagedInside says whether a manifest has whole records behind one that cannot
// be read. Pebble takes the first such for the end, which the power cut left, and
// removes the files that it then knows nothing of.
func damagedInside(fs vfs.FS, name string) bool {
	text, err := readFile(fs, name)
	if err != nil {
		return false // opening it will tell
	}
	b := []byte(text)
	end := 0
	for {
		next, ok := chunkAt(b, end)
		if !ok {
			break
		}
		end = next
	}
	for at := end + 1; at < len(b); at++ {
		if _, ok := chunkAt(b, at); ok {
			return true
		}
	}
	return false
}

const (
	logBlock  = 32 << 10 // a chunk does not cross the end of a block
	chunkHead = 7        // checksum (4), length (2), type (1)
	lastType  = 4        // full, first, middle, last
)

// chunkAt looks for a whole chunk of Pebble's log format, as a manifest has it, and
// says where the next one is.
func chunkAt(b []byte, at int) (next int, ok bool) {
	if left := logBlock - at%logBlock; left < chunkHead {
		at += left // the rest of a block is zeros
	}
	if at+chunkHead > len(b) {
		return 0, false
	}
	length, kind := int(binary.LittleEndian.Uint16(b[at+4:])), b[at+6]
	next = at + chunkHead + length
	if kind == 0 || kind > lastType || next > len(b) || at/logBlock != (next-1)/logBlock {
		return 0, false
	}
	return next, binary.LittleEndian.Uint32(b[at:]) == masked(b[at+6:next])
}
