package route

// expiry is a heap of numbers by the time they are due. It writes each
// number's place in the heap, plus one, to where placeOf says, so that a
// number can be taken out again.
type expiry struct {
	heap    []due
	placeOf func(uint32) *uint32
}

type due struct {
	at int64
	id uint32
}

// next is the earliest time, 0 if nothing is due ever.
func (e *expiry) next() int64 {
	if len(e.heap) == 0 {
		return 0
	}
	return e.heap[0].at
}

// set makes a number due at a time, or never if that is 0.
func (e *expiry) set(id uint32, at int64) {
	place := *e.placeOf(id)
	switch {
	case place == 0 && at == 0:
	case at == 0:
		e.remove(id)
	case place == 0:
		e.heap = append(e.heap, due{})
		e.up(len(e.heap)-1, due{at, id})
	default:
		e.fix(int(place)-1, due{at, id})
	}
}

// remove takes out a number, if it is in.
func (e *expiry) remove(id uint32) {
	place := e.placeOf(id)
	if *place == 0 {
		return
	}
	i, last := int(*place)-1, len(e.heap)-1
	*place = 0
	moved := e.heap[last]
	e.heap = e.heap[:last]
	if i != last {
		e.fix(i, moved)
	}
}

// fix puts d where the hole i is, or above or below it.
func (e *expiry) fix(i int, d due) {
	if i > 0 && d.at < e.heap[(i-1)/2].at {
		e.up(i, d)
		return
	}
	e.down(i, d)
}

func (e *expiry) up(i int, d due) {
	for i > 0 && d.at < e.heap[(i-1)/2].at {
		e.put(i, e.heap[(i-1)/2])
		i = (i - 1) / 2
	}
	e.put(i, d)
}

func (e *expiry) down(i int, d due) {
	for {
		kid := 2*i + 1
		if kid >= len(e.heap) {
			break
		}
		if kid+1 < len(e.heap) && e.heap[kid+1].at < e.heap[kid].at {
			kid++
		}
		if d.at <= e.heap[kid].at {
			break
		}
		e.put(i, e.heap[kid])
		i = kid
	}
	e.put(i, d)
}

func (e *expiry) put(i int, d due) {
	e.heap[i] = d
	*e.placeOf(d.id) = uint32(i + 1)
}
