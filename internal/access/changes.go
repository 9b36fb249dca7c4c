package access

import "iter"

// Held is what a connected client does: what it has subscribed to and where it
// has published to lately.
type Held struct {
	Info *Info
	Asks []Ask
}

// Right is what a client may do, for one [Ask].
type Right struct {
	Allowed bool   `json:"allowed"`
	Checked bool   `json:"checked,omitempty"` // a subscription of which some messages may be denied
	Rule    string `json:"rule"`              // the place of what says so
}

func (r Right) same(o Right) bool { return r.Allowed == o.Allowed && r.Checked == o.Checked }

// Change is a right that is not what it was.
type Change struct {
	Info          *Info
	Ask           Ask
	Before, After Right
}

// Changes lists whose rights a change of the sources would change, of what
// these clients do. The policy stays as it is.
func (p *Policy) Changes(change func(*Sources), clients iter.Seq[Held]) []Change {
	before := p.now.Load()
	after := policy{Sources: before.Sources}
	change(&after.Sources)
	var list []Change
	for held := range clients {
		for _, a := range held.Asks {
			c := Change{held.Info, a, before.right(held.Info, a), after.right(held.Info, a)}
			if !c.Before.same(c.After) {
				list = append(list, c)
			}
		}
	}
	return list
}

func (p *policy) right(who *Info, a Ask) Right {
	o := p.decide(who, a)
	return Right{Allowed: o.allowed, Checked: o.allowed && !o.whole, Rule: o.place()}
}
