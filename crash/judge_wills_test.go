package crash

import (
	"slices"
	"time"
)

// willed follows the life of a will.
func (j *judge) willed(e event) {
	if e.kind == armed {
		m := j.first(e)
		m.sends, m.lives = 1, 1
		m.will = &will{delay: e.delay, maybe: true}
		j.wills = append(j.wills, m)
		return
	}
	for _, m := range j.wills {
		if m.from != e.who {
			continue
		}
		switch e.kind {
		case bequeathed:
			m.will.maybe = false
		case vanished:
			j.vanish(m, e.at)
		case returning:
			m.will.maybe = true
		case returned:
			m.will.back = e.at
		}
	}
}

func (j *judge) vanish(m *message, at time.Time) {
	if !m.will.vanished.IsZero() {
		return // it vanished with the server already
	}
	m.will.vanished = at
	m.will.latest = m.will.earliest().Add(margin)
	m.due = j.subscribers(m.topic)
}

// crash makes all vanish who are connected.
func (j *judge) crash(e event) {
	j.up = false
	for _, m := range j.wills {
		switch w := m.will; {
		case w.vanished.IsZero():
			j.vanish(m, e.at)
			w.crash = true
		case e.at.Sub(w.vanished) < noticed:
			w.crash = true
		}
	}
}

// restart: the delay of a client which vanished with the server may begin anew.
func (j *judge) restart(e event) {
	j.up = true
	for _, m := range j.wills {
		w := m.will
		if len(m.copies) > 0 || w.vanished.IsZero() {
			continue
		}
		latest := e.at.Add(margin)
		if w.crash {
			latest = latest.Add(w.delay)
		}
		if latest.After(w.latest) {
			w.latest = latest
		}
	}
}

func (j *judge) willCame(m *message, k *copies, e event) {
	w := m.will
	switch {
	case w.vanished.IsZero() || e.at.Before(w.earliest().Add(-coarse)):
		j.find(willEarly, m.key, e.who, "its client vanished at %s, the delay is %s, it comes at %s", clock(w.vanished), w.delay, clock(e.at))
	case !w.back.IsZero() && w.back.Before(w.earliest()):
		j.find(willTwice, m.key, e.who, "its client was back at %s, before it was due", clock(w.back))
	}
	if k.n == 1 {
		k.instances = 1
		return
	}
	if e.qos == 2 || !e.dup {
		j.find(willTwice, m.key, e.who, "comes %d times", k.n)
		return
	}
	j.totals.WithDUP++
}

func clock(t time.Time) string {
	if t.IsZero() {
		return "no time"
	}
	return t.Format("15:04:05.000")
}

// wanted says whether a will must come.
func (w *will) wanted() bool { return !w.vanished.IsZero() && !w.maybe && w.back.IsZero() }

// pending are the wills that have not come to all who wait for them.
func (j *judge) pending() (all []*message) {
	for _, m := range j.wills {
		if m.will.wanted() && slices.ContainsFunc(m.due, func(who string) bool { return m.copies[who] == nil }) {
			all = append(all, m)
		}
	}
	return all
}

// overdue are those which should have come by now.
func (j *judge) overdue(now time.Time) (all []finding) {
	for _, m := range j.pending() {
		if !j.up || now.Before(m.will.latest) {
			continue
		}
		for _, who := range m.due {
			if m.copies[who] == nil {
				all = append(all, finding{willLost, m.key, who, "was to come by " + clock(m.will.latest)})
			}
		}
	}
	return all
}

// inspect begins an audit of the retained messages by a client that is about to
// subscribe.
func (j *judge) inspect(who string) {
	j.audit = &audit{who: who, floor: map[string]int{}, heard: map[string]int{}}
	for topic, all := range j.retained {
		for _, m := range all {
			if m.acked {
				j.audit.floor[topic] = m.place
			}
		}
	}
}

// kept takes in a retained message: the last one acknowledged, or a newer one.
func (j *judge) kept(m *message, e event) {
	if !e.retain {
		return
	}
	a := j.audit
	a.heard[m.topic] = m.place
	j.totals.Retained++
	if m.place < a.floor[m.topic] {
		j.find(forgotten, m.key, e.who, "is the retained message %d of its topic; %d was acknowledged", m.place, a.floor[m.topic])
	}
}

// unheard are the retained messages that the audit misses.
func (j *judge) unheard() (all []finding) {
	for topic, floor := range j.audit.floor {
		sent := j.retained[topic]
		cleared := slices.ContainsFunc(sent[floor-1:], func(m *message) bool { return m.key == topic+" cleared" })
		if _, heard := j.audit.heard[topic]; heard || cleared {
			continue
		}
		all = append(all, finding{forgotten, sent[floor-1].key, j.audit.who, "was acknowledged as a retained message, and none is there"})
	}
	return all
}
