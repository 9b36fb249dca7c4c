// Package ban keeps the list of who may not come in.
//
// A [Ban] names a client id, a user name, an address or a network, or patterns of
// the first two; whoever fits all that it names is kept out. Each ban has one
// place in the index, by the most exact thing it names, so that a check costs a
// few look-ups however many bans there are; only those that name nothing but
// patterns are tried one by one. A ban of addresses alone is known as soon as a
// connection is accepted, all others with its CONNECT.
package ban

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Ban is who may not come in.
type Ban struct {
	ID      string `json:"id"` // made of what it names
	Client  string `json:"client,omitempty"`
	User    string `json:"user,omitempty"`
	Address string `json:"address,omitempty"` // an address, or a network such as 192.0.2.0/24
	// ClientPattern and UserPattern are regular expressions of the whole text.
	ClientPattern string     `json:"client_pattern,omitempty"`
	UserPattern   string     `json:"user_pattern,omitempty"`
	Until         *time.Time `json:"until,omitempty"` // nil: for good
	Reason        string     `json:"reason,omitempty"`
	By            string     `json:"by,omitempty"`
	At            time.Time  `json:"at"`
	// Refused is how many connections the ban has kept out since the broker started.
	Refused uint64 `json:"refused"`
}

// Names is what the ban names, in words.
func (b *Ban) Names() string {
	var parts []string
	for _, p := range []struct{ what, text string }{
		{"the client id ", b.Client},
		{"the user ", b.User},
		{"the address ", b.Address},
		{"client ids like ", b.ClientPattern},
		{"users like ", b.UserPattern},
	} {
		if p.text != "" {
			parts = append(parts, p.what+p.text)
		}
	}
	return strings.Join(parts, " with ")
}

// Why says in words that and why somebody is kept out.
func (b *Ban) Why() string {
	text := b.Names() + " is banned for good"
	if b.Until != nil {
		text = b.Names() + " is banned until " + b.Until.UTC().Format(time.RFC3339)
	}
	if b.By != "" {
		text += " by " + b.By
	}
	if b.Reason != "" {
		text += ": " + b.Reason
	}
	return text
}

// Do says how the ban is lifted.
func (b *Ban) Do() string { return "fantail ctl ban rm " + b.ID + " lifts it" }

// over says whether the ban has ended.
func (b *Ban) over(now time.Time) bool { return b.Until != nil && !now.Before(*b.Until) }

// rule is a ban ready to be asked.
type rule struct {
	Ban
	network      netip.Prefix // invalid: any address
	client, user *regexp.Regexp
	refused      atomic.Uint64
}

// fits says whether the rule is about somebody. An address that is not known fits
// no network.
func (r *rule) fits(client, user string, a netip.Addr) bool {
	return (r.Client == "" || r.Client == client) && (r.User == "" || r.User == user) &&
		(!r.network.IsValid() || a.IsValid() && r.network.Contains(a)) &&
		(r.client == nil || r.client.MatchString(client)) && (r.user == nil || r.user.MatchString(user))
}

// onlyAddress says whether nothing but the address counts.
func (r *rule) onlyAddress() bool {
	return r.Client == "" && r.User == "" && r.client == nil && r.user == nil
}

// Most is how many bans there may be: a device that changes its client id with
// each connect must not fill the memory by way of those made by themselves.
const Most = 100_000

// List is the list of bans.
type List struct {
	count atomic.Int64 // of all, for those who ask while there is none

	mu       sync.RWMutex // guards the rest
	all      map[string]*rule
	clients  map[string][]*rule
	users    map[string][]*rule
	networks map[netip.Prefix][]*rule
	lengths  map[int]int // of the networks, and how many have each; IPv6 from 200 on
	patterns []*rule
}

// NewList makes an empty one.
func NewList() *List {
	return &List{
		all: map[string]*rule{}, clients: map[string][]*rule{}, users: map[string][]*rule{},
		networks: map[netip.Prefix][]*rule{}, lengths: map[int]int{},
	}
}

func compile(b Ban) (*rule, error) {
	if b.Client == "" && b.User == "" && b.Address == "" && b.ClientPattern == "" && b.UserPattern == "" {
		return nil, errors.New("the ban names nobody: give a client id, a user, an address, or a pattern")
	}
	r := &rule{Ban: b}
	var err error
	if b.Address != "" {
		if r.network, err = network(b.Address); err != nil {
			return nil, err
		}
		r.Address = r.network.String()
		if r.network.IsSingleIP() {
			r.Address = r.network.Addr().String()
		}
	}
	for _, p := range []struct {
		text string
		into **regexp.Regexp
	}{{b.ClientPattern, &r.client}, {b.UserPattern, &r.user}} {
		if p.text == "" {
			continue
		}
		if *p.into, err = regexp.Compile(`^(?:` + p.text + `)$`); err != nil {
			return nil, fmt.Errorf("%q is no regular expression: %w", p.text, err)
		}
	}
	r.ID = r.id()
	return r, nil
}

// network reads an address or a network.
func network(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		a = a.Unmap().WithZone("")
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return p, fmt.Errorf("%q is neither an address nor a network such as 192.0.2.0/24", text)
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}

// id is the same for bans that name the same.
func (r *rule) id() string {
	sum := sha256.Sum256([]byte(strings.Join([]string{r.Client, r.User, r.Address, r.ClientPattern, r.UserPattern}, "\x00")))
	return hex.EncodeToString(sum[:5])
}

// Ready is a ban as it would be kept, with its id.
func Ready(b Ban, now time.Time) (Ban, error) {
	if b.At.IsZero() {
		b.At = now.UTC().Truncate(time.Second)
	}
	b.Refused = 0
	r, err := compile(b)
	if err != nil {
		return Ban{}, err
	}
	return r.Ban, nil
}

// Len is how many bans there are, those that have ended among them.
func (l *List) Len() int { return int(l.count.Load()) }

// Add adds a ban, in place of one that names the same. It returns it as it is
// kept.
func (l *List) Add(b Ban, now time.Time) (Ban, error) {
	if b.At.IsZero() {
		b.At = now.UTC().Truncate(time.Second)
	}
	r, err := compile(b)
	if err != nil {
		return Ban{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.all) >= Most {
		l.sweep(now)
	}
	if old := l.all[r.ID]; old != nil {
		l.unlink(old)
	} else if len(l.all) >= Most {
		return Ban{}, fmt.Errorf("there are %d bans already: remove some", Most)
	}
	l.link(r)
	return r.Ban, nil
}

// Remove lifts a ban.
func (l *List) Remove(id string) (b Ban, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.all[id]
	if r == nil {
		return Ban{}, false
	}
	l.unlink(r)
	return r.Ban, true
}

// All are the bans in force, the oldest first.
func (l *List) All(now time.Time) []Ban {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sweep(now)
	list := make([]Ban, 0, len(l.all))
	for _, r := range l.all {
		b := r.Ban
		b.Refused = r.refused.Load()
		list = append(list, b)
	}
	slices.SortFunc(list, func(a, b Ban) int { return cmp.Or(a.At.Compare(b.At), strings.Compare(a.ID, b.ID)) })
	return list
}

// Address is the ban of addresses that keeps one out, or nil. It counts that.
func (l *List) Address(a netip.Addr, now time.Time) *Ban { return l.address(a, now).refuse() }

// Client is the ban that keeps a client out, or nil. It counts that.
func (l *List) Client(client, user string, a netip.Addr, now time.Time) *Ban {
	return l.about(client, user, a, now).refuse()
}

// WouldAddress is Address without counting.
func (l *List) WouldAddress(a netip.Addr, now time.Time) *Ban { return l.address(a, now).ban() }

// WouldClient is Client without counting.
func (l *List) WouldClient(client, user string, a netip.Addr, now time.Time) *Ban {
	return l.about(client, user, a, now).ban()
}

// refuse counts that the rule keeps somebody out.
func (r *rule) refuse() *Ban {
	if r != nil {
		r.refused.Add(1)
	}
	return r.ban()
}

func (r *rule) ban() *Ban {
	if r == nil {
		return nil
	}
	b := r.Ban
	return &b
}

func (l *List) address(a netip.Addr, now time.Time) *rule {
	if l.count.Load() == 0 || !a.IsValid() {
		return nil
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.inNetworks("", "", a, now, func(r *rule) bool { return r.onlyAddress() })
}

func (l *List) about(client, user string, a netip.Addr, now time.Time) *rule {
	if l.count.Load() == 0 {
		return nil
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	all := func(*rule) bool { return true }
	if b := first(l.clients[client], client, user, a, now, all); b != nil {
		return b
	}
	if b := first(l.users[user], client, user, a, now, all); b != nil {
		return b
	}
	if b := l.inNetworks(client, user, a, now, all); b != nil {
		return b
	}
	return first(l.patterns, client, user, a, now, all)
}

// inNetworks looks among the bans that are kept by their network.
func (l *List) inNetworks(client, user string, a netip.Addr, now time.Time, counts func(*rule) bool) *rule {
	if !a.IsValid() {
		return nil
	}
	a = a.Unmap().WithZone("")
	for length := range l.lengths {
		p, err := a.Prefix(bitsOf(length, a))
		if err != nil {
			continue
		}
		if b := first(l.networks[p], client, user, a, now, counts); b != nil {
			return b
		}
	}
	return nil
}

func first(rules []*rule, client, user string, a netip.Addr, now time.Time, counts func(*rule) bool) *rule {
	a = a.Unmap().WithZone("")
	for _, r := range rules {
		if !r.over(now) && counts(r) && r.fits(client, user, a) {
			return r
		}
	}
	return nil
}

// Networks of both kinds have lengths of their own.
const of6 = 200

func lengthOf(p netip.Prefix) int {
	if p.Addr().Is6() {
		return of6 + p.Bits()
	}
	return p.Bits()
}

// bitsOf is a length as one of the address's kind, or -1.
func bitsOf(length int, a netip.Addr) int {
	if (length >= of6) != a.Is6() {
		return -1
	}
	return length % of6
}

// Matcher says whether a ban is about somebody.
func Matcher(b Ban) (func(client, user string, a netip.Addr) bool, error) {
	r, err := compile(b)
	if err != nil {
		return nil, err
	}
	return func(client, user string, a netip.Addr) bool { return r.fits(client, user, a.Unmap().WithZone("")) }, nil
}

// link puts a rule into the index. The caller holds l.mu.
func (l *List) link(r *rule) {
	l.all[r.ID] = r
	switch {
	case r.Client != "":
		l.clients[r.Client] = append(l.clients[r.Client], r)
	case r.User != "":
		l.users[r.User] = append(l.users[r.User], r)
	case r.network.IsValid():
		l.networks[r.network] = append(l.networks[r.network], r)
		l.lengths[lengthOf(r.network)]++
	default:
		l.patterns = append(l.patterns, r)
	}
	l.count.Store(int64(len(l.all)))
}

// unlink takes a rule out. The caller holds l.mu.
func (l *List) unlink(r *rule) {
	delete(l.all, r.ID)
	switch {
	case r.Client != "":
		without(l.clients, r.Client, r)
	case r.User != "":
		without(l.users, r.User, r)
	case r.network.IsValid():
		without(l.networks, r.network, r)
		if n := lengthOf(r.network); l.lengths[n] > 1 {
			l.lengths[n]--
		} else {
			delete(l.lengths, n)
		}
	default:
		l.patterns = slices.DeleteFunc(l.patterns, func(x *rule) bool { return x == r })
	}
	l.count.Store(int64(len(l.all)))
}

func without[K comparable](m map[K][]*rule, key K, r *rule) {
	m[key] = slices.DeleteFunc(m[key], func(x *rule) bool { return x == r })
	if len(m[key]) == 0 {
		delete(m, key)
	}
}

// sweep takes out what has ended. The caller holds l.mu.
func (l *List) sweep(now time.Time) {
	for _, r := range l.all {
		if r.over(now) {
			l.unlink(r)
		}
	}
}
