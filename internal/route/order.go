package route

// Names are kept in an order where the slash comes first, before every other
// character and after the end of the name: a name, then all that is below it,
// then the next. U+0000, which no name holds, is taken for a slash.

// before reports whether a comes before b.
func before[A, B ~string | ~[]byte](a A, b B) bool {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return rank(a[i]) < rank(b[i])
		}
	}
	return len(a) < len(b)
}

func rank(c byte) byte {
	if c == '/' {
		return 0
	}
	return c
}

const (
	// pastSubtree, put behind a prefix, comes after all that begins with the
	// prefix and a slash and before anything else that follows it.
	pastSubtree = '\x01'
	// pastDollar comes after the names that begin with $.
	pastDollar = '$' + 1
)
