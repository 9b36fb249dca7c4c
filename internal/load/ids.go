package load

// openIDs holds the packet identifiers of a publisher that wait for an answer,
// and since when, so that each acknowledgement is seen to answer something and
// its latency is known. Brokers may acknowledge in any order: [MQTT-4.6.0-2]
// binds the client.
type openIDs struct {
	// since is indexed by identifier: 0 where it is free, the time of its
	// message plus 1 where PUBACK or PUBREC is to come, the same below zero
	// where PUBCOMP is. It is at most half full, but for its last size.
	since []int64
	next  uint16
	used  int
}

const (
	fewestIDs = 64
	mostIDs   = 1 << 16
)

// take marks a free identifier as waiting since the given time. There is one:
// maxOpen bounds those in use.
func (o *openIDs) take(sent int64) uint16 {
	if 2*o.used >= len(o.since) && len(o.since) < mostIDs {
		o.grow()
	}
	for o.next == 0 || o.since[o.next] != 0 {
		o.step()
	}
	id := o.next
	o.since[id] = sent + 1
	o.used++
	o.step()
	return id
}

func (o *openIDs) grow() {
	more := make([]int64, max(fewestIDs, 2*len(o.since)))
	copy(more, o.since)
	o.since = more
}

func (o *openIDs) step() {
	o.next++ // from 65535 to 0
	if int(o.next) >= len(o.since) {
		o.next = 1
	}
}

// free ends the wait for PUBACK or PUBREC; false if there is none.
func (o *openIDs) free(id uint16) (sent int64, ok bool) {
	if int(id) >= len(o.since) || o.since[id] <= 0 {
		return 0, false
	}
	sent = o.since[id] - 1
	o.since[id] = 0
	o.used--
	return sent, true
}

// release notes a PUBREC: PUBCOMP is to come.
func (o *openIDs) release(id uint16) bool {
	if int(id) >= len(o.since) || o.since[id] <= 0 {
		return false
	}
	o.since[id] = -o.since[id]
	return true
}

// complete ends the wait for PUBCOMP.
func (o *openIDs) complete(id uint16) (sent int64, ok bool) {
	if int(id) >= len(o.since) || o.since[id] >= 0 {
		return 0, false
	}
	sent = -o.since[id] - 1
	o.since[id] = 0
	o.used--
	return sent, true
}
