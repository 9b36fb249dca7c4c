package route

import (
	"hash/maphash"
	"strings"
)

// trie holds the filters that have wildcards, a node for each level. The
// nodes are the entries of one hash table, found by parent and level, so
// there is not a pointer in it however many filters there are. A last # is no
// node: it is the cell below of its parent.
type trie struct {
	seed   maphash.Seed
	nodes  table[node]
	levels texts
	root   node
}

type node struct {
	parent uint32
	plus   uint32 // child for any level, 0 if there is none
	only   uint32 // the literal child, if there is one and it has always been the only one; else 0
	kids   uint32 // children, the + too
	level  level  // 0: this is the +
	here   cell   // rows of the filter that ends here
	below  cell   // rows of the filter that goes on with #
}

// level is the text of a level: of up to seven bytes, with their number plus one
// in front, or its number in texts behind longLevel. To look at a text elsewhere
// takes as long as all else together, if it is not in the processor's cache.
type level uint64

const (
	longLevel level = 0xFF << 56
	shortest        = 7
)

// short is a level that needs no text; false if it is too long for that.
func short(s string) (level, bool) {
	if len(s) > shortest {
		return 0, false
	}
	v := level(len(s)+1) << 56
	for i := range len(s) {
		v |= level(s[i]) << (8 * i)
	}
	return v, true
}

func (t *trie) newLevel(s string) level {
	if v, ok := short(s); ok {
		return v
	}
	return longLevel | level(t.levels.put(s, ""))
}

func (t *trie) dropLevel(v level) {
	if v >= longLevel {
		t.levels.drop(text(v))
	}
}

// is reports whether a node, but not a +, has this level.
func (t *trie) is(v *node, s string) bool {
	if want, ok := short(s); ok {
		return v.level == want
	}
	return v.level >= longLevel && t.levels.is(text(v.level), s, "")
}

func newTrie(seed maphash.Seed) trie { return trie{seed: seed, levels: newTexts()} }

// at is a node by its number; the root is 0.
func (t *trie) at(n uint32) *node {
	if n == 0 {
		return &t.root
	}
	return t.nodes.get(n)
}

func (t *trie) empty() bool { return t.root.kids == 0 && t.root.below.empty() }

func (t *trie) hash(level string) uint64 { return maphash.String(t.seed, level) }

// child is the node of a literal level under a parent, 0 if there is none.
func (t *trie) child(parent uint32, level string, hash uint64) uint32 {
	for n := t.nodes.first(edge(parent, hash)); n != 0; n = t.nodes.after(n) {
		v := t.nodes.get(n)
		if v.parent == parent && t.is(v, level) {
			return n
		}
	}
	return 0
}

// edge is the hash of a node in the table.
func edge(parent uint32, hash uint64) uint32 { return uint32(mix(hash, uint64(parent))) }

// find is the node where a filter ends and whether it ends with #; ok is
// false if no filter leads there.
func (t *trie) find(path string) (n uint32, below, ok bool) {
	for more := true; more; {
		var level string
		level, path, more = strings.Cut(path, "/")
		if level == "#" {
			return n, true, true
		}
		next := uint32(0)
		if level == "+" {
			next = t.at(n).plus
		} else {
			next = t.child(n, level, t.hash(level))
		}
		if next == 0 {
			return 0, false, false
		}
		n = next
	}
	return n, false, true
}

// make is find, with the nodes that are missing added.
func (t *trie) make(path string) (n uint32, below bool) {
	for more := true; more; {
		var level string
		level, path, more = strings.Cut(path, "/")
		switch level {
		case "#":
			return n, true
		case "+":
			n = t.plus(n)
		default:
			n = t.literal(n, level)
		}
	}
	return n, false
}

func (t *trie) plus(parent uint32) uint32 {
	if n := t.at(parent).plus; n != 0 {
		return n
	}
	n := t.add(parent, t.hash("+"))
	t.at(parent).plus = n
	return n
}

func (t *trie) literal(parent uint32, level string) uint32 {
	hash := t.hash(level)
	if n := t.child(parent, level, hash); n != 0 {
		return n
	}
	n := t.add(parent, hash)
	t.at(n).level = t.newLevel(level)
	up := t.at(parent)
	if up.only = 0; up.literals() == 1 {
		up.only = n
	}
	return n
}

// literals is how many children have a literal level.
func (v *node) literals() uint32 {
	if v.plus != 0 {
		return v.kids - 1
	}
	return v.kids
}

func (t *trie) add(parent uint32, hash uint64) uint32 {
	n := t.nodes.add(edge(parent, hash))
	t.at(n).parent = parent
	t.at(parent).kids++
	return n
}

// prune removes a node that no filter needs any more, and its parents.
func (t *trie) prune(n uint32) {
	for n != 0 {
		v := t.at(n)
		if v.kids != 0 || !v.here.empty() || !v.below.empty() {
			return
		}
		parent := v.parent
		up := t.at(parent)
		up.kids--
		if v.level == 0 {
			up.plus = 0
		} else {
			t.dropLevel(v.level)
			up.only = 0
		}
		t.nodes.remove(n)
		n = parent
	}
}

// cell is where the rows of a filter lie, by the result of find or make.
func (t *trie) cell(n uint32, below bool) *cell {
	if below {
		return &t.at(n).below
	}
	return &t.at(n).here
}

// walk is one match of a name. It lives on the stack of its caller.
type walk struct {
	trie  *trie
	rows  *rows
	name  string
	out   []Row
	left  int // nodes it may still visit
	cut   bool
	known int // levels whose hash is in hashes
	hash  [24]uint64
}

// from visits node n, which stands for the levels before name[off:], and all
// that match below it. depth is the number of those levels. The literal
// child goes first: if the budget runs out, the plain filters had their turn.
func (w *walk) from(n uint32, off, depth int) {
	for {
		if w.left == 0 {
			w.cut = true
			return
		}
		w.left--
		v := w.trie.at(n)
		hidden := n == 0 && w.name[0] == '$' // [MQTT-4.7.2-1]
		if !v.below.empty() && !hidden {
			w.out = w.rows.appendTo(w.out, v.below)
		}
		if off > len(w.name) {
			w.out = w.rows.appendTo(w.out, v.here)
			return
		}
		if v.kids == 0 {
			return
		}
		end := len(w.name)
		if i := strings.IndexByte(w.name[off:], '/'); i >= 0 {
			end = off + i
		}
		plus := v.plus
		if hidden {
			plus = 0
		}
		literal := uint32(0)
		switch level := w.name[off:end]; {
		case v.only != 0:
			if w.trie.is(w.trie.at(v.only), level) {
				literal = v.only
			}
		case v.literals() > 0:
			literal = w.trie.child(n, level, w.hashOf(level, depth))
		}
		off, depth = end+1, depth+1
		switch {
		case literal == 0 && plus == 0:
			return
		case literal == 0:
			n = plus
		case plus == 0:
			n = literal
		default:
			w.from(literal, off, depth)
			n = plus
		}
	}
}

// hashOf is the hash of the level at a depth, remembered because many nodes
// of one depth may ask.
func (w *walk) hashOf(level string, depth int) uint64 {
	if depth < w.known {
		return w.hash[depth]
	}
	h := w.trie.hash(level)
	if depth == w.known && depth < len(w.hash) {
		w.hash[depth] = h
		w.known++
	}
	return h
}
