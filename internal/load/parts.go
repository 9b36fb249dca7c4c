package load

import (
	"context"
	"errors"
	"sync"
)

// errElsewhere ends a part because another one has failed.
var errElsewhere = errors.New("another thread has failed")

// runParts divides the clients among several loops, which know nothing of each
// other: they connect, begin to measure together, and their results are added
// up.
func runParts(ctx context.Context, to Target, sc Scenario, timing Timing) (*Result, error) {
	n := sc.Threads
	m := &meeting{connected: make(chan error, n), start: make(chan struct{})}
	views := &views{of: make([]Snapshot, n), tell: to.Watch}
	results, errs := make([]*Result, n), make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { // ends with its part, which is waited for
			part, target := sc.part(i), to
			if i > 0 {
				target.PID = 0 // one look at the broker will do
			}
			if to.Watch != nil {
				target.Watch = func(s Snapshot) { views.see(i, s) }
			}
			results[i], errs[i] = runPart(ctx, target, part, timing, m.wait)
		})
	}
	m.open(n)
	all.Wait()
	for _, err := range errs {
		if err != nil && !errors.Is(err, errElsewhere) {
			return nil, err
		}
	}
	return sum(results), errors.Join(errs...)
}

// part is the share of one of the threads.
func (s Scenario) part(i int) Scenario {
	from, to := s.Publishers*i/s.Threads, s.Publishers*(i+1)/s.Threads
	p := s
	p.Threads, p.first, p.Publishers = 1, from, to-from
	if s.Shape == Pairs {
		p.Subscribers = p.Publishers
	}
	p.Stalled = s.Stalled*(i+1)/s.Threads - s.Stalled*i/s.Threads
	p.Rate = s.Rate * float64(p.Publishers) / float64(s.Publishers)
	return p
}

// meeting is where all parts wait until the last has connected.
type meeting struct {
	connected chan error
	start     chan struct{} // closed when all have, or one has failed
	failed    bool          // set before
}

func (m *meeting) wait(err error) error {
	m.connected <- err
	<-m.start
	if err == nil && m.failed {
		return errElsewhere
	}
	return err
}

func (m *meeting) open(parts int) {
	for range parts {
		if err := <-m.connected; err != nil {
			m.failed = true
		}
	}
	close(m.start)
}

// views is what each part has last been seen to do; the first one tells.
type views struct {
	mu   sync.Mutex // guards of
	of   []Snapshot
	tell func(Snapshot)
}

func (v *views) see(part int, s Snapshot) {
	v.mu.Lock()
	v.of[part] = s
	for i, o := range v.of {
		if i != part {
			s.Connected += o.Connected
			s.Sent += o.Sent
			s.Acked += o.Acked
			s.Received += o.Received
			s.Faults.add(o.Faults)
		}
	}
	v.mu.Unlock()
	if part == 0 {
		v.tell(s)
	}
}

// sum adds up the results of all parts. Windows are of about the same length;
// CPU and memory are the first one's, who looked for all.
func sum(parts []*Result) *Result {
	r := parts[0]
	if r == nil {
		return nil
	}
	for _, o := range parts[1:] {
		r.Window = max(r.Window, o.Window)
		r.Sent += o.Sent
		r.Acked += o.Acked
		r.Received += o.Received
		r.BytesOut += o.BytesOut
		r.BytesIn += o.BytesIn
		r.Clients += o.Clients
		r.Connect.Add(&o.Connect)
		r.Ack.Add(&o.Ack)
		r.Latency.Add(&o.Latency)
		r.Late.Add(&o.Late)
		r.Behind += o.Behind
		r.Stalled.Clients += o.Stalled.Clients
		r.Stalled.Connected += o.Stalled.Connected
		r.Stalled.Closed += o.Stalled.Closed
		r.All.Sent += o.All.Sent
		r.All.Acked += o.All.Acked
		r.All.Expected += o.All.Expected
		r.All.Received += o.All.Received
		r.Faults.add(o.Faults)
		r.Interrupted = r.Interrupted || o.Interrupted
	}
	return r
}

// add takes in the faults of another part.
func (f *Faults) add(o Faults) {
	f.Lost += o.Lost
	f.Duplicated += o.Duplicated
	f.Disordered += o.Disordered
	f.Damaged += o.Damaged
	f.Protocol += o.Protocol
	f.Refused += o.Refused
	f.Closed += o.Closed
	if f.Trouble == "" {
		f.Trouble = o.Trouble
	}
}
