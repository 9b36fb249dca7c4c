package broker

import (
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/fantail-mqtt/fantail/internal/record"
	"github.com/fantail-mqtt/fantail/internal/session"
	"github.com/fantail-mqtt/fantail/internal/wheel"
)

// sweeper ends messages that expire in the store while their client is away or
// takes nothing. The store finds them by time; whether they are still there alone
// and were not sent only the session can tell.
type sweeper struct {
	b     *Broker
	entry wheel.Entry

	at    atomic.Int64 // as armed, for those that look without the lock
	again bool         // owned by the sweep: something is in other hands just now

	mu       sync.Mutex // guards these
	armed    int64      // when it is due; 0: not armed
	sweeping bool
}

const (
	sweepPause = 1000   // the least time between two sweeps, milliseconds
	sweepAgain = 60_000 // after one that could not read
)

// sweepBy makes the sweeper look at the latest then, or a little later; at 0 it
// need not.
func (b *Broker) sweepBy(at int64) {
	s := &b.sweeper
	if b.store == nil || at <= 0 {
		return
	}
	if armed := s.at.Load(); armed > 0 && armed <= at {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arm(at)
}

// arm sets the alarm, if it is not set for an earlier time. The caller holds s.mu.
func (s *sweeper) arm(at int64) {
	if s.armed > 0 && s.armed <= at {
		return
	}
	s.armed = at
	s.at.Store(at)
	if !s.sweeping {
		s.b.o.Wheel.Set(s, at)
	}
}

// Timer implements wheel.Owner.
func (s *sweeper) Timer() *wheel.Entry { return &s.entry }

// Due implements wheel.Owner.
func (s *sweeper) Due(now int64) (next int64) {
	s.mu.Lock()
	s.sweeping, s.armed = true, 0
	s.at.Store(0)
	s.mu.Unlock()
	s.sweep(now, record.Run{})
	return 0
}

// sweep goes on behind a run.
func (s *sweeper) sweep(now int64, behind record.Run) {
	s.b.store.Overdue(now, behind, func(runs []record.Run, next int64, err error) {
		if err != nil || len(runs) == 0 {
			s.swept(now, next, err)
			return
		}
		// A session is its Client: what the store says from now on is of this one,
		// or it is gone.
		clients := make(map[string]*Client, len(runs))
		for i := range runs {
			clients[runs[i].Client] = s.b.client(runs[i].Client)
		}
		s.b.store.Standing(runs, func(standing []record.Run, err error) {
			if err == nil {
				s.b.do(func(t *Tick) { s.expire(t, standing, clients) })
			}
			if err == nil && next == now {
				s.sweep(now, runs[len(runs)-1])
				return
			}
			s.swept(now, next, err)
		})
	})
}

// swept ends a sweep; next is when the store has something to tell again.
func (s *sweeper) swept(now, next int64, err error) {
	if err != nil {
		s.b.o.Logger.Warn("cannot read which messages have expired", slog.Any("err", err))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err != nil:
		next = now + sweepAgain
	case s.again:
		next = now
	}
	s.again = false
	if s.armed > 0 && (next == 0 || s.armed < next) {
		next = s.armed
	}
	s.sweeping, s.armed = false, 0
	if next > 0 {
		s.arm(max(next, now+sweepPause))
	}
}

// expire ends what has expired, unless it was loaded to be sent: then that decides.
func (s *sweeper) expire(t *Tick, runs []record.Run, clients map[string]*Client) {
	for i := range runs {
		r, c := &runs[i], clients[runs[i].Client]
		if c == nil {
			continue
		}
		t.open(c)
		run := session.Run{First: r.First, Last: r.Last, At: r.At, Messages: r.Messages, Bytes: r.Bytes}
		if !c.gone && !c.session.Expire(&t.work, run) {
			s.again = true
		}
		t.countDrained()
		t.shut(c)
	}
}
