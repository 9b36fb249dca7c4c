package access

import (
	"strings"
	"sync"
	"sync/atomic"

	"github.com/fantail-mqtt/fantail/packet"
)

// Sources are where rules come from, in the order in which they are asked;
// before all of them are those of a client's own [Grant].
type Sources struct {
	Runtime *Rules // managed while the broker runs
	Config  *Rules // of the configuration
	ACLFile *Rules // nil: there is none
	// Default is for what no rule matches. 0: Deny if there is a rule or an
	// ACLFile, and to strangers once SetUp; else Allow.
	Default Effect
	// Disconnect says that a client ends that publishes where it may not.
	Disconnect bool
	// SetUp says that clients can show who they are.
	SetUp bool
}

// The names of the sources, as the owner reads them.
const (
	sourceGrant   = "rules of the client"
	sourceRuntime = "run-time rules"
	sourceConfig  = "access.rules"
	sourceACLFile = "access.acl_file"
	sourceDefault = "access.default"
	sourceSuper   = "superuser"
	sourceSys     = "$SYS"
)

// Policy decides what clients may do. Its sources can change at any time.
type Policy struct {
	now     atomic.Pointer[policy]
	mu      sync.Mutex // one change at a time
	refusal *packet.Refusal
}

// policy is what holds until the next change.
type policy struct {
	Sources
	version uint64
}

// NewPolicy makes a policy.
func NewPolicy(s Sources) *Policy {
	p := &Policy{refusal: packet.Refuse(packet.NotAuthorized, "the access rules do not allow it")}
	p.now.Store(&policy{Sources: s, version: 1})
	return p
}

// Update changes the sources. It holds for whoever asks afterwards.
func (p *Policy) Update(change func(*Sources)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.now.Load()
	next := &policy{Sources: old.Sources, version: old.version + 1}
	change(&next.Sources)
	p.now.Store(next)
}

// Sources are those of now.
func (p *Policy) Sources() Sources { return p.now.Load().Sources }

// Version moves on with each change. What is remembered of an answer holds as
// long as the version that was read before it was asked for.
func (p *Policy) Version() uint64 { return p.now.Load().version }

// Access returns nil to allow, or a *packet.Refusal in words that tell the
// client nothing of the rules. [Policy.Explain] has the others.
func (p *Policy) Access(who *Info, a Ask) error {
	o := p.now.Load().decide(who, a)
	if o.allowed || who.Restored && a.Action == Receive && o.rule == nil { // a rule may be about what is not known yet
		return nil
	}
	return p.refusal
}

// Denies says whether a client is denied what it asks for, of which no more is known
// than its names and whether it had a Grant. What hangs from more is decided in its
// favour: with a group, an attribute, an address or a listener in it, a rule that
// allows matches, and one that denies does not.
func (p *Policy) Denies(who *Info, a Ask) bool {
	s, q := seen(who), questionOf(a)
	s.faceless = true
	o := p.now.Load().outcome(&s, &q)
	return !o.allowed
}

// Subscribing says whether a client may subscribe, and if so, whether it may
// receive whatever matches the filter. Otherwise each message has to be asked
// about, with [Receive]. The last is the place of the rule that decided.
func (p *Policy) Subscribing(who *Info, filter string, qos byte) (allowed, whole bool, rule string) {
	o := p.now.Load().decide(who, Ask{Action: Subscribe, Topic: filter, QoS: qos})
	return o.allowed, o.whole, o.place()
}

// Open says that everything is allowed to clients without rules of their own,
// but for what begins with $. known says whether they are those that a step of
// the authentication knows, or strangers.
func (p *Policy) Open(known bool) bool {
	now := p.now.Load()
	return now.ACLFile == nil && now.Runtime.Len()+now.Config.Len() == 0 && now.Default != Deny && (known || !now.SetUp || now.Default == Allow)
}

// Disconnects says that a client ends that publishes where it may not.
func (p *Policy) Disconnects() bool { return p.now.Load().Disconnect }

// outcome is what all sources come to.
type outcome struct {
	allowed bool
	whole   bool // all that matches a subscription may be received
	source  string
	rule    *Rule // nil: no rule decided
	// stranger says that none did since nobody knows the client.
	stranger bool
}

func (o *outcome) place() string {
	if o.rule != nil {
		return o.rule.ID
	}
	return o.source
}

func (p *policy) decide(who *Info, a Ask) outcome {
	s, q := seen(who), questionOf(a)
	return p.outcome(&s, &q)
}

type source struct {
	name  string
	rules *Rules
}

// order is the order in which the sources are asked.
func (p *policy) order(s *subject) [4]source {
	order := [4]source{
		{sourceGrant, nil}, {sourceRuntime, p.Runtime}, {sourceConfig, p.Config}, {sourceACLFile, p.ACLFile},
	}
	if s.Grant != nil {
		order[0].rules = s.Grant.Rules
	}
	return order
}

func (p *policy) outcome(s *subject, q *question) outcome {
	if q.Action == Publish && sys(q.path) {
		return outcome{source: sourceSys}
	}
	if s.Grant != nil && s.Grant.Superuser {
		return outcome{allowed: true, whole: true, source: sourceSuper}
	}
	if q.Action == Subscribe {
		return p.subscribing(s, q)
	}
	for _, src := range p.order(s) {
		if d := src.rules.decide(s, q); d.Matched {
			return outcome{allowed: d.Allowed, whole: d.Allowed, source: src.name, rule: d.Rule}
		}
	}
	return p.otherwise(s, q)
}

// otherwise is for what no rule matches.
func (p *policy) otherwise(s *subject, q *question) outcome {
	if p.byDefault(s) == Deny {
		return outcome{source: sourceDefault, stranger: s.Grant == nil && p.Default == 0 && p.SetUp}
	}
	if q.Action != Publish && sys(q.path) && !p.readsSys(s) {
		return outcome{source: sourceSys}
	}
	return outcome{allowed: true, whole: true, source: sourceDefault}
}

func (p *policy) byDefault(s *subject) Effect {
	own := s.Grant != nil && s.Grant.Rules != nil
	switch {
	case p.Default != 0:
		return p.Default
	case own || p.ACLFile != nil || p.Runtime.Len()+p.Config.Len() > 0:
		return Deny
	case s.Grant == nil && p.SetUp: // a stranger among those who can show who they are
		return Deny
	default:
		return Allow
	}
}

// readsSys says who reads the broker's own topics without a rule: they tell of
// other clients.
func (p *policy) readsSys(s *subject) bool { return s.Grant != nil || !p.SetUp && s.local() }

func sys(path string) bool { return path == "$SYS" || strings.HasPrefix(path, "$SYS/") }
