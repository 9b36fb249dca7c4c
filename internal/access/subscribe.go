package access

// To subscribe, a client needs a rule that allows subscribe and covers the
// filter. Or it needs the right to receive some of what the filter stands for:
// mosquitto's acl_file says nothing else, so that a client with "topic read
// home/+/lamp" subscribes to # and is sent lamps. Then each message is asked
// about.

// partly is what the rules before have left of a subscription.
type partly struct {
	some bool    // of the messages may be received,
	by   outcome // says this rule first
	not  bool    // some may not
}

// weigh asks a rule about a subscription; done: it has decided.
func (w *partly) weigh(c *compiled, s *subject, q *question, source string) (o outcome, done bool) {
	if c.rule.Actions&Subscribe != 0 {
		if c.meets(s, q) != hit {
			return o, false
		}
		o = outcome{source: source, rule: &c.rule, allowed: c.rule.Effect == Allow}
		o.whole = o.allowed && !w.not
		return o, true
	}
	receive := question{Ask: Ask{Action: Receive}, path: q.path}
	if c.about(s, &receive) != hit {
		return o, false
	}
	return w.receives(c, s, q.path, source)
}

// receives weighs a rule about receive alone.
func (w *partly) receives(c *compiled, s *subject, path, source string) (o outcome, done bool) {
	rel, _ := c.relate(s, path)
	o = outcome{source: source, rule: &c.rule}
	allow := c.rule.Effect == Allow
	switch {
	case rel == apart:
		return o, false
	case rel == covering && allow:
		o.allowed, o.whole = true, !w.not
		return o, true
	case rel == covering: // whatever comes after it is too late
		return w.otherwise(o), true
	case allow && !w.some:
		w.some, w.by = true, outcome{allowed: true, source: source, rule: &c.rule}
	case !allow:
		w.not = true
	}
	return o, false
}

// otherwise is what is left when o is all there is.
func (w *partly) otherwise(o outcome) outcome {
	switch {
	case o.allowed:
		o.whole = !w.not
		return o
	case w.some:
		return w.by
	default:
		return o
	}
}

func (p *policy) subscribing(s *subject, q *question) outcome {
	var w partly
	for _, src := range p.order(s) {
		for list := src.rules.candidates(s); ; {
			c := list.next()
			if c == nil {
				break
			}
			if o, done := w.weigh(c, s, q, src.name); done {
				return o
			}
		}
	}
	return w.otherwise(p.otherwise(s, q))
}
