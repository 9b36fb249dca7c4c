package fantail

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/fantail-mqtt/fantail/internal/auth"
	"github.com/fantail-mqtt/fantail/internal/auth/breaker"
	"github.com/fantail-mqtt/fantail/internal/auth/file"
	"github.com/fantail-mqtt/fantail/internal/auth/hash"
	"github.com/fantail-mqtt/fantail/internal/config"
	"github.com/fantail-mqtt/fantail/internal/conn"
	"github.com/fantail-mqtt/fantail/internal/limit"
	"github.com/fantail-mqtt/fantail/internal/metrics"
	"github.com/fantail-mqtt/fantail/packet"
)

// gate decides who may connect by the configuration.
type gate struct {
	chain  *auth.Chain
	steps  []auth.Step // of the chain, in its order
	users  *auth.Users
	hashes *hash.Pool // of every step that checks passwords
	scram  *auth.SCRAM
	managed
	setUp func() bool // whether clients can show who they are
	lasts []lasting

	guesses *limit.Guesses
}

// lasting is a step that holds something until Close.
type lasting interface {
	auth.Step
	Close()
}

// start lets those steps begin that work by themselves.
func (g *gate) start() {
	for _, l := range g.lasts {
		if s, ok := l.(interface{ Start() }); ok {
			s.Start()
		}
	}
}

func (g *gate) close() {
	if g == nil {
		return
	}
	for _, l := range g.lasts {
		l.Close()
	}
}

// newGate makes the chain of the steps in the configuration.
func (b *Broker) newGate() (*gate, error) {
	a := &b.config.Auth
	g := &gate{hashes: hash.NewPool(0, 0), guesses: limit.NewGuesses(max(b.config.Limits.WrongPasswords, 0))}
	secret := b.secret()
	var err error
	if g.users, err = auth.NewUsers(users(a), secret, g.hashes); err != nil {
		return nil, fmt.Errorf("auth.users: %w", err)
	}
	g.managed = b.newManaged(g.hashes, secret)
	for i := range a.Steps() {
		s, err := b.step(g, &a.Steps()[i])
		if err != nil {
			g.close()
			return nil, fmt.Errorf("auth.chain[%d]: %w", i, err)
		}
		g.steps = append(g.steps, s)
	}
	g.setUp = func() bool { return g.users.Count()+len(a.Chain)+g.count() > 0 }
	g.chain = auth.NewChain(g.steps, a.Anonymous, g.setUp)
	g.scram = auth.NewSCRAM(secret, sources(g.steps)...)
	return g, nil
}

func users(a *config.Auth) []auth.User {
	list := make([]auth.User, 0, len(a.Users))
	for _, u := range a.Users {
		list = append(list, auth.User{Name: u.Name, Password: string(u.Password)})
	}
	return list
}

// step makes one step of the chain.
func (b *Broker) step(g *gate, s *config.Step) (auth.Step, error) {
	switch {
	case s.Users != nil:
		return g.users, nil
	case s.Accounts != nil:
		return g.accounts, nil
	case s.Devices != nil:
		return g.devices, nil
	case s.PasswordFile != nil:
		return file.New(file.Options{Path: s.PasswordFile.Path, Pool: g.hashes})
	case s.JWT != nil:
		return keep(g, "jwt", s.JWT, b.stepJWT)
	case s.HTTP != nil:
		return keep(g, "http", s.HTTP, b.stepHTTP)
	case s.SQL != nil:
		return keep(g, "sql", s.SQL, b.stepSQL(g))
	case s.LDAP != nil:
		return b.stepLDAP(s.LDAP)
	case s.Certificate != nil:
		return stepCertificate(s.Certificate)
	default:
		return nil, fmt.Errorf("the step names nothing that checks clients")
	}
}

// keep makes a step that lasts as long as the gate does.
func keep[S any, T lasting](g *gate, name string, s S, step func(S) (T, error)) (auth.Step, error) {
	t, err := step(s)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	g.lasts = append(g.lasts, t)
	return t, nil
}

// filed is a step that has read files.
type filed interface {
	// Prepare reads them anew. Nothing of it is in force before commit.
	Prepare() (commit func(), err error)
}

// reload takes over the users of a configuration, and reads anew what the steps
// have read from files. Nothing of it is in force before commit.
func (g *gate) reload(a *config.Auth) (commit func(), err error) {
	var all changes
	commit, err = g.users.Replace(users(a))
	if err != nil {
		err = fmt.Errorf("auth.users: %w", err)
	}
	all.add(commit, err)
	for i, s := range g.steps {
		if f, ok := s.(filed); ok {
			commit, err := f.Prepare()
			if err != nil {
				err = fmt.Errorf("auth.chain[%d]: %w", i, err)
			}
			all.add(commit, err)
		}
	}
	return all.join()
}

// changes are prepared one by one, and made together or not at all.
type changes struct {
	commits []func()
	errs    []error
}

func (c *changes) add(commit func(), err error) {
	c.commits, c.errs = append(c.commits, commit), append(c.errs, err)
}

func (c *changes) join() (commit func(), err error) {
	if err := errors.Join(c.errs...); err != nil {
		return nil, err
	}
	return func() {
		for _, commit := range c.commits {
			commit()
		}
	}, nil
}

// quick decides what needs no waiting.
func (g *gate) quick(r *ConnectRequest) (decided bool, grant *Grant, err error) {
	t, decided := g.chain.Quick(r)
	if !decided {
		err = g.guessing(ipOf(r.Peer.Addr), r.UserName)
		return err != nil, nil, err
	}
	grant, err = verdict([]auth.Trial{t})
	return true, grant, err
}

// Authenticate implements Authenticator.
func (g *gate) Authenticate(ctx context.Context, r *ConnectRequest) (*Grant, error) {
	grant, err := verdict(g.chain.Authenticate(ctx, r))
	if refusal, ok := errors.AsType[*packet.Refusal](err); ok && refusal.Code == packet.BadUserNameOrPassword {
		g.guesses.Wrong(ipOf(r.Peer.Addr), r.UserName, limit.At(time.Now().UnixMilli()))
	}
	return grant, err
}

// guessing refuses a client whose password is not looked at, after too many
// wrong ones.
func (g *gate) guessing(from netip.Addr, user string) error {
	wait := g.guesses.Wait(from, user, limit.At(time.Now().UnixMilli()))
	if wait <= 0 {
		return nil
	}
	return &conn.Advice{
		Refusal: packet.Refuse(packet.ConnectionRateExceeded, "too many wrong passwords"), Reason: "wrong_passwords", Step: "limits.wrong_passwords",
		Why: fmt.Sprintf("too many wrong passwords came for the user name from this address: none is looked at for %v", wait.Round(time.Second)),
		Do:  "correct the password in the client, and let it wait between its tries",
	}
}

// unread is the refusal of a client whose password is not looked at. No password
// is of one that concerns no step.
func (g *gate) unread(r *ConnectRequest) error {
	if _, decided := g.chain.Quick(r); decided {
		return nil
	}
	return g.guessing(ipOf(r.Peer.Addr), r.UserName)
}

// figures are those of the steps.
func (g *gate) figures() []metrics.Step {
	figures := g.chain.Figures()
	list := make([]metrics.Step, 0, len(figures))
	for i, f := range figures {
		list = append(list, metrics.Step{
			Name: f.Step, Ignored: f.Ignored, Allowed: f.Allowed, Denied: f.Denied, Failed: f.Failed,
			Backend: backend(g.steps[i]), Memory: memory(g.steps[i]),
		})
	}
	return list
}

// backend is how the backend of a step does, nil if it has none.
func backend(s auth.Step) *metrics.Backend {
	asks, ok := s.(interface{ Breaker() *breaker.Breaker })
	if !ok {
		return nil
	}
	f := asks.Breaker().Figures()
	return &metrics.Backend{
		Open: f.State != breaker.Closed, Opened: f.Opened, Calls: f.Calls, Failed: f.Failed, Late: f.Late, Refused: f.Refused, Busy: f.Busy,
	}
}

// memory is what a step remembers, nil if that is nothing.
func memory(s auth.Step) *metrics.Memory {
	remembers, ok := s.(interface {
		Remembered() (hits, misses uint64, ok bool)
	})
	if !ok {
		return nil
	}
	hits, misses, ok := remembers.Remembered()
	if !ok {
		return nil
	}
	return &metrics.Memory{Hits: hits, Misses: misses}
}

// verdict is what the trials come to: the last one decides.
func verdict(trials []auth.Trial) (*Grant, error) {
	t := &trials[len(trials)-1]
	if t.Verdict == auth.Allow {
		if t.Grant.By == "" {
			return nil, nil
		}
		g := t.Grant // alone: the connection keeps it, and not the trials
		return &g, nil
	}
	code := t.Code
	if code == 0 {
		code = packet.BadUserNameOrPassword
	}
	return nil, &conn.Advice{Refusal: packet.Refuse(code, heard(code)), Step: t.Step, Why: t.Why, Do: t.Do}
}

// heard is all that a client hears of why it is refused: the owner's log has
// the rest.
func heard(code packet.Code) string {
	switch code {
	case packet.BadUserNameOrPassword:
		return "user name or password is wrong"
	case packet.Banned:
		return "the client is banned"
	case packet.ServerUnavailable:
		return "the broker cannot check clients just now"
	default:
		return "the client is not let in"
	}
}
