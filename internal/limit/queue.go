package limit

// A connection that has not said who it is stands in two queues: that of all,
// and that of its address.
const (
	ofAll = iota
	ofAddress
	queues
)

// queue is connections in the order in which they came.
type queue struct{ first, last *Pass }

// place is a connection's in a queue.
type place struct {
	before, behind *Pass
	in             bool
}

func (q *queue) push(p *Pass, which int) {
	at := &p.places[which]
	*at = place{before: q.last, in: true}
	if q.last != nil {
		q.last.places[which].behind = p
	} else {
		q.first = p
	}
	q.last = p
}

func (q *queue) remove(p *Pass, which int) {
	at := p.places[which]
	if !at.in {
		return
	}
	if at.before != nil {
		at.before.places[which].behind = at.behind
	} else {
		q.first = at.behind
	}
	if at.behind != nil {
		at.behind.places[which].before = at.before
	} else {
		q.last = at.before
	}
	p.places[which] = place{}
}
