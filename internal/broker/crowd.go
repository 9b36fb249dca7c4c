package broker

const (
	// wideFrom is how many targets a message for many has.
	wideFrom = 64
	// crowdSlice is how many clients that only such have touched are written to before
	// others are looked after.
	crowdSlice = 128
)

// crowd is a queue of clients that have something to be written. It does not grow
// beyond twice of what it holds at most.
type crowd struct {
	list []*Client
	head int
}

func (q *crowd) len() int { return len(q.list) - q.head }

func (q *crowd) put(c *Client) {
	if n := q.len(); q.head > n && len(q.list) == cap(q.list) {
		copy(q.list, q.list[q.head:])
		clear(q.list[n:])
		q.list, q.head = q.list[:n], 0
	}
	q.list = append(q.list, c)
}

// take is the one that has waited longest; there has to be one.
func (q *crowd) take() *Client {
	c := q.list[q.head]
	q.list[q.head] = nil
	if q.head++; q.head == len(q.list) {
		q.list, q.head = q.list[:0], 0
	}
	return c
}
