package auth

import (
	"context"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/packet"
)

// Verdict is what a step says of a client.
type Verdict byte

// The verdicts.
const (
	Ignore Verdict = iota // somebody else may know the client
	Allow
	Deny
)

func (v Verdict) String() string {
	switch v {
	case Allow:
		return "allow"
	case Deny:
		return "deny"
	default:
		return "ignore"
	}
}

// Answer is a verdict with its reason.
type Answer struct {
	Verdict Verdict
	Grant   access.Grant // of Allow
	// Code is what a denied client hears; 0: packet.BadUserNameOrPassword.
	Code packet.Code
	// Why is for the owner of the broker: the client does not hear it, and it
	// never holds a secret. Do is what the owner can do about it.
	Why, Do string
	// Failed says that the step could not find out. Then the client is denied.
	Failed bool
}

// Passed is the answer of a step that does not know the client.
func Passed(why string) Answer { return Answer{Verdict: Ignore, Why: why} }

// Allowed is the answer of a step that lets the client in.
func Allowed(g access.Grant, why string) Answer { return Answer{Verdict: Allow, Grant: g, Why: why} }

// Denied is the answer of a step that knows the client and does not let it in.
func Denied(code packet.Code, why, do string) Answer {
	return Answer{Verdict: Deny, Code: code, Why: why, Do: do}
}

// Failure is the answer of a step that could not find out.
func Failure(why, do string) Answer {
	return Answer{Verdict: Deny, Code: packet.ServerUnavailable, Why: why, Do: do, Failed: true}
}

// Step is a link of the chain.
type Step interface {
	// Name is how the configuration and the log call it.
	Name() string
	// Concerns says whether Check could say anything but Ignore. It is asked on
	// an event loop: it must not wait.
	Concerns(r *access.Request) bool
	// Check says whether the client is who it says it is. It may wait. One that
	// knows no such client takes as long as one that knows it.
	Check(ctx context.Context, r *access.Request) Answer
}

// Trial is what a step said of a client.
type Trial struct {
	Step string
	Answer
	Took time.Duration
}

// Chain asks its steps in their order. The first that does not ignore the
// client decides; if all do, the policy for strangers does.
type Chain struct {
	links     []*link
	anonymous string
	setUp     func() bool
}

type link struct {
	Step
	name   string // of the step; a second one of that name has #2 behind it
	counts [Deny + 1]atomic.Uint64
	failed atomic.Uint64
}

// NewChain makes a chain. The policy for strangers is one of Anonymous, and
// empty for one that hangs from setUp, which says whether the owner has given
// clients a way to show who they are: before, those of this machine are let in.
func NewChain(steps []Step, anonymous string, setUp func() bool) *Chain {
	c := &Chain{anonymous: anonymous, setUp: setUp}
	seen := map[string]int{}
	for _, s := range steps {
		l := &link{Step: s, name: s.Name()}
		if seen[s.Name()]++; seen[s.Name()] > 1 {
			l.name += "#" + strconv.Itoa(seen[s.Name()])
		}
		c.links = append(c.links, l)
	}
	return c
}

// stranger is the name of the step behind all others.
const stranger = "auth.anonymous"

// Quick decides about a client that concerns no step. It does not wait.
func (c *Chain) Quick(r *access.Request) (t Trial, decided bool) {
	for _, l := range c.links {
		if l.Concerns(r) {
			return Trial{}, false
		}
	}
	return Trial{Step: stranger, Answer: c.stranger(r)}, true
}

// Authenticate asks the steps. The last of the trials decides: it is never
// Ignore.
func (c *Chain) Authenticate(ctx context.Context, r *access.Request) []Trial {
	trials := make([]Trial, 0, len(c.links)+1)
	for _, l := range c.links {
		start := time.Now()
		a := l.Check(ctx, r)
		if a.Verdict == Allow {
			a.Grant.By = l.name
		}
		l.counts[a.Verdict].Add(1)
		if a.Failed {
			l.failed.Add(1)
		}
		trials = append(trials, Trial{Step: l.name, Answer: a, Took: time.Since(start)})
		if a.Verdict != Ignore {
			return trials
		}
	}
	return append(trials, Trial{Step: stranger, Answer: c.stranger(r)})
}

// stranger decides about a client that no step knows.
func (c *Chain) stranger(r *access.Request) Answer {
	policy, setUp := c.anonymous, c.setUp()
	if policy == "" {
		policy = AnonymousLoopback
		if setUp {
			policy = AnonymousNever
		}
	}
	switch {
	case policy == AnonymousAlways:
		return Allowed(access.Grant{}, "everybody is let in")
	case r.HasUserName && setUp:
		return Denied(packet.BadUserNameOrPassword, "nobody knows the user name",
			"add an account with fantail ctl user add, or a device with fantail ctl device add, or correct the user name in the client")
	case Anonymous(policy, &r.Peer):
		return Allowed(access.Grant{}, "clients of this machine are let in")
	case setUp:
		return Denied(packet.NotAuthorized, "the client shows no user name and password",
			"give the client those of an account, or let everybody in with auth.anonymous: always")
	default:
		return Denied(packet.NotAuthorized, "clients without an account are let in from this machine alone",
			"add an account with fantail ctl user add, or let everybody in with auth.anonymous: always")
	}
}

// Figures are how often a step has said what.
type Figures struct {
	Step                             string // as the log calls it
	Ignored, Allowed, Denied, Failed uint64 // Failed are among Denied
}

// Figures are those of all steps, in their order.
func (c *Chain) Figures() []Figures {
	list := make([]Figures, 0, len(c.links))
	for _, l := range c.links {
		list = append(list, Figures{
			Step: l.name, Ignored: l.counts[Ignore].Load(), Allowed: l.counts[Allow].Load(),
			Denied: l.counts[Deny].Load(), Failed: l.failed.Load(),
		})
	}
	return list
}
