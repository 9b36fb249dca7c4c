package limit

import (
	"sync"
	"time"
)

// UserBounds are those of all connections of one user together. 0 is no bound.
type UserBounds struct {
	Connections     int
	Messages, Bytes Rate // in
}

// Any says whether there is a bound at all.
func (b UserBounds) Any() bool { return b != UserBounds{} }

// Users counts what the connections of each user do together.
type Users struct {
	mu     sync.Mutex // guards the rest
	bounds UserBounds
	table  table[string]
}

// NewUsers makes a counter.
func NewUsers(b UserBounds) *Users { return &Users{bounds: b, table: newTable[string](remembered)} }

// SetBounds replaces the bounds. Connections without a user count from their
// next connect on.
func (u *Users) SetBounds(b UserBounds) {
	u.mu.Lock()
	u.bounds = b
	u.mu.Unlock()
}

// User is a connection's share in its user.
type User struct {
	users *Users
	name  string
	entry *entry
}

// Enter counts a connection. It is nil if nothing is to be counted; ok is false
// if the user has as many as it may, unless one of them makes room.
func (u *Users) Enter(name string, replaces bool) (user *User, ok bool) {
	if u == nil || name == "" {
		return nil, true
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.bounds.Any() {
		return nil, true
	}
	e := u.table.enter(name)
	if u.bounds.full(e.refs-1, replaces) {
		e.refs--
		return nil, false
	}
	return &User{users: u, name: name, entry: e}, true
}

// full says whether a user with so many connections may have no further one.
func (b *UserBounds) full(has int, replaces bool) bool {
	if replaces {
		has--
	}
	return b.Connections > 0 && has >= b.Connections
}

// Would says whether Enter would be ok, and counts nothing.
func (u *Users) Would(name string, replaces bool) (ok bool) {
	if u == nil || name == "" {
		return true
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	e := u.table.look(name)
	return !u.bounds.full(e.refs, replaces)
}

// Rates are those of a user, and how long it has to wait for each now.
func (u *Users) Rates(name string, now time.Duration) (b UserBounds, messages, bytes time.Duration) {
	if u == nil || name == "" {
		return UserBounds{}, 0, 0
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	e := u.table.look(name)
	return u.bounds, e.messages.Wait(now), e.bytes.Wait(now)
}

// Leave is the end of a connection.
func (u *User) Leave(now time.Duration) {
	if u == nil {
		return
	}
	u.users.mu.Lock()
	u.users.table.leave(u.name, u.entry, now)
	u.users.mu.Unlock()
}

// Take takes what came from the user's rates. messages says which of them makes
// it wait.
func (u *User) Take(messages, bytes int64, now time.Duration) (wait time.Duration, byMessages bool) {
	if u == nil {
		return 0, false
	}
	u.users.mu.Lock()
	defer u.users.mu.Unlock()
	b := &u.users.bounds
	m, n := u.entry.messages.Take(b.Messages, messages, now), u.entry.bytes.Take(b.Bytes, bytes, now)
	return max(m, n), m >= n
}
