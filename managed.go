package fantail

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/internal/auth"
	"github.com/fantail-mqtt/fantail/internal/auth/account"
	"github.com/fantail-mqtt/fantail/internal/auth/device"
	"github.com/fantail-mqtt/fantail/internal/auth/hash"
	"github.com/fantail-mqtt/fantail/internal/config"
	"github.com/fantail-mqtt/fantail/internal/conn"
	"github.com/fantail-mqtt/fantail/internal/limit"
	"github.com/fantail-mqtt/fantail/packet"
)

// managed is who may come in as it is managed at run time. It is there even if no
// step of the chain asks it.
type managed struct {
	accounts *account.Accounts
	devices  *device.Devices
}

func (b *Broker) newManaged(pool *hash.Pool, secret auth.Secret) (m managed) {
	var window time.Duration
	for _, s := range b.config.Auth.Steps() {
		if s.Devices != nil {
			window = cmp.Or(window, s.Devices.TimestampWindow)
		}
	}
	log := forwardLog(b)
	m.accounts = account.New(account.Options{
		Settings: b.broker, Secret: secret, Pool: pool, LimitSet: b.limitSet, Kick: b.broker.KickIf, Logger: log,
	})
	m.devices = device.New(device.Options{
		Settings: b.broker, Secret: secret, Window: window, LimitSet: b.limitSet, Kick: b.broker.KickIf, Logger: log,
	})
	return m
}

// limitSet says whether there is a set of limits with a name.
func (b *Broker) limitSet(name string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, ok := b.config.Limits.Sets[name]
	return ok
}

func (m *managed) count() int { return m.accounts.Count() + m.devices.Count() }

// watchSetUp lets the access rules know once there is a first account, or device;
// and the owner, if no step of the chain asks about them.
func (b *Broker) watchSetUp() {
	asked := func(of func(*config.Step) bool) bool {
		return slices.ContainsFunc(b.config.Auth.Steps(), func(s config.Step) bool { return of(&s) })
	}
	idle := map[string]bool{
		account.Space: !asked(func(s *config.Step) bool { return s.Accounts != nil }),
		device.Space:  !asked(func(s *config.Step) bool { return s.Devices != nil }),
	}
	b.lookSetUp()
	for _, space := range []string{account.Space, device.Space} {
		b.broker.OnSetting(space, func(name string, value []byte, gone bool) { // until the broker ends
			if idle[space] && !gone {
				idle[space] = false
				forwardLog(b).Warn("nobody is let in by what is managed at run time: add a step "+space+"s to auth.chain", slog.String("name", name))
			}
			b.lookSetUp()
		})
	}
}

// lookSetUp lets the access rules know if there is a first account, or none any
// more.
func (b *Broker) lookSetUp() {
	b.settingUp.Lock()
	defer b.settingUp.Unlock()
	if now := b.gate.setUp(); now != b.setUp {
		b.setUp = now
		b.changeRules(func(s *access.Sources) { s.SetUp = now })
	}
}

// sources are the steps that know accounts for SCRAM.
func sources(steps []auth.Step) (list []auth.Source) {
	for _, s := range steps {
		if source, ok := s.(auth.Source); ok {
			list = append(list, source)
		}
	}
	return list
}

// begin begins an enhanced authentication of a client at an address.
func (g *gate) begin(method string, from net.Addr) (conn.Exchange, error) {
	if g.users.Count()+g.accounts.Count() == 0 {
		return nil, packet.Refuse(packet.BadAuthenticationMethod, "the server has no enhanced authentication")
	}
	x, err := g.scram.Begin(method)
	if err != nil {
		return nil, err
	}
	return &exchange{Exchange: x, gate: g, from: ipOf(from)}, nil
}

// exchange is an enhanced authentication whose wrong passwords count as any do.
type exchange struct {
	*auth.Exchange
	gate *gate
	from netip.Addr
}

// Step implements conn.Exchange.
func (x *exchange) Step(data []byte) (reply []byte, done bool, err error) {
	reply, done, err = x.Exchange.Step(data)
	name := x.Name()
	switch {
	case name == "" || done:
		return reply, done, err
	case err != nil:
		x.gate.guesses.Wrong(x.from, name, limit.At(time.Now().UnixMilli()))
		return nil, false, err
	default:
		return reply, false, x.gate.guessing(x.from, name)
	}
}

const (
	secretSpace = "auth"
	secretKey   = "secret"
)

// secret is what names without an account are treated by. It outlives the process:
// those names would be known by what changes otherwise.
func (b *Broker) secret() auth.Secret {
	if kept, ok := b.broker.Setting(secretSpace, secretKey); ok && len(kept) == len(auth.Secret{}) {
		return auth.Secret(kept)
	}
	s := auth.NewSecret()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second) // for the waiting
	defer cancel()
	if err := b.broker.PutSetting(ctx, secretSpace, secretKey, s[:]); err != nil {
		b.logger.Warn("cannot keep the secret by which unknown users look like known ones: the next start makes another", slog.Any("err", err))
	}
	return s
}
