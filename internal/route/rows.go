package route

// indexAbove is the length from which a list of rows has a map of where each
// row is. Without one, a hundred thousand clients that subscribe to the same
// filter would compare each with each.
const indexAbove = 64

// rows keeps what does not fit into a cell: lists of several rows, and rows
// of shared and local subscriptions.
type rows struct {
	lists  slab[list]
	blocks blocks[Row]
	where  map[uint32]map[rowKey]uint32 // per long list: the index of each row
}

type list struct {
	n, block uint32
	class    uint8
}

func newRows() rows {
	return rows{blocks: blocks[Row]{unit: 1}, where: map[uint32]map[rowKey]uint32{}}
}

// of is the rows of a list, in its block.
func (r *rows) of(id uint32) []Row {
	l := r.lists.at(id)
	return r.blocks.at(int(l.class), l.block)[:l.n]
}

// appendTo adds the rows of a cell to out.
func (r *rows) appendTo(out []Row, c cell) []Row {
	if c.empty() {
		return out
	}
	if c.isList() {
		return append(out, r.of(c.to)...)
	}
	return append(out, c.row())
}

// put adds a row to a cell or replaces the row that has its key, and reports
// whether there was one.
func (r *rows) put(c *cell, row Row) (existed bool) {
	small, fits := pack(row)
	if fits && (c.empty() || !c.isList() && c.to == small.to) {
		existed = !c.empty()
		*c = small
		return existed
	}
	if !c.isList() {
		r.makeList(c)
	}
	if i, ok := r.find(c.to, row.key()); ok {
		r.of(c.to)[i] = row
		return true
	}
	r.push(c.to, row)
	return false
}

// makeList turns a cell into a list of what it holds.
func (r *rows) makeList(c *cell) {
	id := r.lists.take()
	l := r.lists.at(id)
	l.class = uint8(r.blocks.classOf(2))
	l.block = r.blocks.take(int(l.class))
	if !c.empty() {
		r.push(id, c.row())
	}
	*c = cell{id, listBits}
}

func (r *rows) find(id uint32, k rowKey) (int, bool) {
	if where := r.where[id]; where != nil {
		i, ok := where[k]
		return int(i), ok
	}
	all := r.of(id)
	for i := range all {
		if all[i].key() == k {
			return i, true
		}
	}
	return 0, false
}

// push appends a row that the list does not hold.
func (r *rows) push(id uint32, row Row) {
	l := r.lists.at(id)
	if int(l.n) == r.blocks.size(int(l.class)) {
		r.move(l, int(l.n)+1)
	}
	l.n++
	r.of(id)[l.n-1] = row
	if where := r.where[id]; where != nil {
		where[row.key()] = l.n - 1
		return
	}
	if l.n > indexAbove {
		r.where[id] = r.indexed(id)
	}
}

func (r *rows) indexed(id uint32) map[rowKey]uint32 {
	all := r.of(id)
	where := make(map[rowKey]uint32, len(all))
	for i := range all {
		where[all[i].key()] = uint32(i)
	}
	return where
}

// move gives a list a block with room for n rows.
func (r *rows) move(l *list, n int) {
	class := r.blocks.classOf(n)
	block := r.blocks.take(class)
	copy(r.blocks.at(class, block), r.blocks.at(int(l.class), l.block)[:l.n])
	r.blocks.give(int(l.class), l.block)
	l.class, l.block = uint8(class), block
}

// remove takes the row with this key out of a cell and reports whether it was
// there.
func (r *rows) remove(c *cell, k rowKey) (existed bool) {
	if !c.isList() {
		if c.empty() || c.row().To != k.to || k.group != 0 || k.local {
			return false
		}
		*c = cell{}
		return true
	}
	i, ok := r.find(c.to, k)
	if !ok {
		return false
	}
	r.cut(c.to, i)
	r.shrink(c)
	return true
}

// cut removes row i by putting the last one in its place.
func (r *rows) cut(id uint32, i int) {
	l, all := r.lists.at(id), r.of(id)
	last := len(all) - 1
	if where := r.where[id]; where != nil {
		delete(where, all[i].key())
		if i != last {
			where[all[last].key()] = uint32(i)
		}
	}
	all[i] = all[last]
	l.n--
}

// shrink gives back what a list that lost a row no longer needs, late enough
// that a client which comes and goes does not make it grow again each time.
func (r *rows) shrink(c *cell) {
	l := r.lists.at(c.to)
	if l.n < indexAbove/2 {
		delete(r.where, c.to)
	}
	if l.n > 1 {
		if n := int(l.n); n*2 < r.blocks.size(int(l.class)) {
			r.move(l, n+n/4)
		}
		return
	}
	left := cell{}
	if l.n == 1 {
		only, fits := pack(r.of(c.to)[0])
		if !fits {
			return
		}
		left = only
	}
	r.blocks.give(int(l.class), l.block)
	r.lists.give(c.to)
	*c = left
}
