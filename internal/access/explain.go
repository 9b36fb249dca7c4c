package access

import (
	"fmt"

	"github.com/fantail-mqtt/fantail/topic"
)

// Explanation is a decision in words. It is for the owner of the broker: a
// client does not hear it.
type Explanation struct {
	Allowed bool `json:"allowed"`
	// Checked says that a subscription is allowed, and that each of its messages
	// is asked about: some of them may not be received.
	Checked bool   `json:"checked,omitempty"`
	Source  string `json:"source"`         // such as access.rules
	Rule    string `json:"rule,omitempty"` // its place; empty: no rule decided
	Why     string `json:"why"`
	Do      string `json:"do,omitempty"` // to have it otherwise
	// Tried are the rules that were asked before the one that decided.
	Tried []Trial `json:"tried,omitempty"`
}

// Trial is a rule that did not decide.
type Trial struct {
	Source string `json:"source"`
	Rule   string `json:"rule,omitempty"`
	Text   string `json:"text,omitempty"`
	Why    string `json:"why"`
}

// Explain decides once more and says why. It costs more than the decision.
func (p *Policy) Explain(who *Info, a Ask) Explanation {
	now := p.now.Load()
	e, o := now.reason(who, a)
	if o.rule == nil && o.source != sourceDefault && (o.source != sourceSys || a.Action == Publish) {
		return e // no rule was asked
	}
	s, q := seen(who), questionOf(a)
	for _, src := range now.order(&s) {
		trials, last := tried(src, &s, &q, o.rule)
		e.Tried = append(e.Tried, trials...)
		if last {
			break
		}
	}
	return e
}

// Reason is [Policy.Explain] without what was tried before: for a line in the
// log.
func (p *Policy) Reason(who *Info, a Ask) Explanation {
	e, _ := p.now.Load().reason(who, a)
	return e
}

func (p *policy) reason(who *Info, a Ask) (Explanation, outcome) {
	if err := valid(a); err != nil {
		return Explanation{Source: "MQTT", Why: err.Error(), Do: "correct it in the client"}, outcome{}
	}
	s, q := seen(who), questionOf(a)
	o := p.outcome(&s, &q)
	e := Explanation{Allowed: o.allowed, Checked: o.allowed && !o.whole, Source: o.source}
	if o.rule != nil {
		e.Rule = o.rule.ID
	}
	e.Why = o.why(&q)
	if !o.allowed {
		e.Do = o.do(&s, &q)
	}
	return e, o
}

func valid(a Ask) error {
	if a.Action != Subscribe {
		return topic.ValidName(a.Topic, 0)
	}
	_, err := topic.ParseFilter(a.Topic, 0)
	return err
}

func (o *outcome) why(q *question) string {
	switch {
	case o.rule != nil && o.allowed && !o.whole:
		return o.rule.String() + "; some of the messages may be denied: each is checked when it is delivered"
	case o.rule != nil:
		return o.rule.String()
	case o.source == sourceSuper:
		return "the client is a superuser, who may do everything"
	case o.source == sourceSys && q.Action == Publish:
		return "topics under $SYS are the broker's own: nobody publishes there"
	case o.source == sourceSys:
		return "no rule matches, and topics under $SYS are for clients with an account"
	case o.allowed && !o.whole:
		return "no rule decides; some of the messages are denied: each is checked when it is delivered"
	case o.allowed:
		return "no rule matches, and what no rule matches is allowed"
	case o.stranger:
		return "no rule matches, and what no rule matches is denied to clients without an account"
	default:
		return "no rule matches, and what no rule matches is denied"
	}
}

// do is what the owner can do about a refusal.
func (o *outcome) do(s *subject, q *question) string {
	if q.Action == Publish && o.source == sourceSys {
		return "publish to another topic"
	}
	rule := fmt.Sprintf("{allow: %v, %s, topic: %q}", q.Action, s.naming(), q.path)
	if o.rule != nil {
		return fmt.Sprintf("change %s, or put a rule before it such as %s", o.rule.ID, rule)
	}
	return "add a rule such as " + rule + " with fantail ctl acl add, or to access.rules"
}

// naming is how a rule names the client.
func (s *subject) naming() string {
	if s.user != "" {
		return fmt.Sprintf("user: %q", s.user)
	}
	return fmt.Sprintf("client: %q", s.ClientID)
}

// tried lists the rules of a source that came before the one that decided.
func tried(src source, s *subject, q *question, decided *Rule) (trials []Trial, last bool) {
	looked := 0
	for list := src.rules.candidates(s); ; {
		c := list.next()
		if c == nil {
			break
		}
		if &c.rule == decided {
			return trials, true
		}
		looked++
		trials = append(trials, Trial{src.name, c.rule.ID, c.rule.String(), c.missed(s, q)})
	}
	if others := src.rules.Len() - looked; others > 0 {
		trials = append(trials, Trial{Source: src.name, Why: fmt.Sprintf("rules for other users or clients: %d", others)})
	}
	return trials, false
}

// missed says why the rule has not decided.
func (c *compiled) missed(s *subject, q *question) string {
	if q.Action == Subscribe && c.rule.Actions&Subscribe == 0 {
		q = &question{Ask: Ask{Action: Receive}, path: q.path}
		if rel, _ := c.relate(s, q.path); rel == touching && c.about(s, q) == hit {
			return "it is about some of the messages that would come"
		}
	}
	return c.words(c.meets(s, q), s, q)
}
