package route

// texts keeps strings outside the garbage collector's sight. Each lies in a
// block behind its length in two bytes.
type texts struct{ blocks[byte] }

// text names a string in texts: its class and block, plus one. 0 is none.
type text uint32

const (
	textBits = 26
	textHead = 2
)

func newTexts() texts { return texts{blocks[byte]{unit: 8}} }

func (t text) split() (class int, n uint32) {
	t--
	return int(t >> textBits), uint32(t) % (1 << textBits)
}

// put keeps a+b, which together are at most 65,535 bytes long.
func (s *texts) put(a, b string) text {
	c := s.classOf(textHead + len(a) + len(b))
	for s.full(c) {
		c++
	}
	n := s.take(c)
	block := s.at(c, n)
	size := len(a) + len(b)
	block[0], block[1] = byte(size>>8), byte(size)
	copy(block[textHead:], a)
	copy(block[textHead+len(a):], b)
	return text(c)<<textBits | text(n) + 1
}

// full reports whether a class has given out every block that a text can
// name.
func (s *texts) full(c int) bool {
	return c < len(s.classes) && len(s.classes[c].free) == 0 && s.classes[c].next == 1<<textBits
}

func (s *texts) drop(t text) { s.give(t.split()) }

// get is the string itself, valid until it is dropped.
func (s *texts) get(t text) []byte {
	block := s.at(t.split())
	return block[textHead : textHead+int(block[0])<<8+int(block[1])]
}

// is reports whether t is a+b.
func (s *texts) is(t text, a, b string) bool {
	have := s.get(t)
	return len(have) == len(a)+len(b) && string(have[:len(a)]) == a && string(have[len(a):]) == b
}
