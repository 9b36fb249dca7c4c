package session

// line is messages in the order of their Seq. It is cheap at both ends, where
// they come and mostly go.
type line struct {
	items []Item
	head  int // where it begins
}

func (l *line) all() []Item { return l.items[l.head:] }

func (l *line) len() int { return len(l.items) - l.head }

// push puts a message at the end.
func (l *line) push(it Item) {
	if len(l.items) == cap(l.items) && l.head > len(l.items)/2 {
		n := copy(l.items, l.all())
		clear(l.items[n:])
		l.items, l.head = l.items[:n], 0
	}
	l.items = append(l.items, it)
}

// remove takes the i-th message out.
func (l *line) remove(i int) {
	all := l.all()
	if i < len(all)/2 || i == 0 {
		copy(all[1:], all[:i])
		all[0] = Item{}
		l.head++
	} else {
		copy(all[i:], all[i+1:])
		l.keep(len(all) - 1)
	}
	if l.len() == 0 {
		l.items, l.head = l.items[:0], 0
	}
}

// keep keeps only the first n messages.
func (l *line) keep(n int) {
	clear(l.all()[n:])
	l.items = l.items[:l.head+n]
}
