package broker

import "testing"

// What waited in a queue counts as sent once it is.
func TestDrainedMessagesCountAsSent(t *testing.T) {
	b := New(Options{Log: Memory{}})
	defer b.Close()
	tick := b.NewTick()
	tick.work.Drained = [3]int{0, 2, 1}
	tick.countDrained()
	tick.countDrained()
	tick.Begin()
	tick.End()
	st := b.Stats()
	if one, two := st.PublishSent[1].Load(), st.PublishSent[2].Load(); one != 2 || two != 1 {
		t.Errorf("sent %d at QoS 1 and %d at QoS 2, want 2 and 1", one, two)
	}
}
