package route

import (
	"slices"
	"strings"
	"sync"
	"testing"
)

func members(handles ...Handle) []Row {
	var rows []Row
	for _, h := range handles {
		rows = append(rows, Row{To: h, Group: 1})
	}
	return rows
}

func TestParseStrategy(t *testing.T) {
	for i, name := range []string{"random", "round_robin", "sticky", "hash_clientid", "hash_topic"} {
		s, err := ParseStrategy(name)
		if err != nil || s != Strategy(i) || s.String() != name {
			t.Errorf("%s: %v, %v", name, s, err)
		}
	}
	_, err := ParseStrategy("hash_payload")
	if err == nil || !strings.Contains(err.Error(), `"hash_payload"`) || !strings.Contains(err.Error(), "random, round_robin, sticky, hash_clientid, hash_topic") {
		t.Errorf("the error names neither the mistake nor the choice: %v", err)
	}
	if got := Strategy(9).String(); got != "strategy 9" {
		t.Errorf("an unknown strategy is %q", got)
	}
}

func TestRoundRobinTakesTurns(t *testing.T) {
	var c Chooser
	var got []int
	for range 7 {
		got = append(got, c.Choose(RoundRobin, members(1, 2, 3), Draw{}))
	}
	if want := []int{0, 1, 2, 0, 1, 2, 0}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestRandomFollowsTheDraw(t *testing.T) {
	var c Chooser
	for draw, want := range map[uint64]int{0: 0, 4: 1, 1<<64 - 1: 0} {
		if got := c.Choose(Random, members(1, 2, 3), Draw{Random: draw, Client: 9, Topic: 9}); got != want {
			t.Errorf("draw %d chooses %d, want %d", draw, got, want)
		}
	}
}

func TestStickyStaysWithAMemberUntilItLeaves(t *testing.T) {
	var c Chooser
	first := members(10, 20, 30)
	if got := c.Choose(Sticky, first, Draw{Random: 1}); got != 1 {
		t.Fatalf("the first choice is %d, want the drawn 1", got)
	}
	if got := c.Choose(Sticky, members(5, 10, 15, 20, 30), Draw{Random: 4}); got != 3 {
		t.Errorf("with others around 20 the choice is %d, want 3", got)
	}
	if got := c.Choose(Sticky, members(10, 30), Draw{Random: 1}); got != 1 {
		t.Errorf("without 20 the choice is %d, want the drawn 1", got)
	}
	if got := c.Choose(Sticky, first, Draw{Random: 1}); got != 2 {
		t.Errorf("20 is back and the choice is %d, want 2, which is 30", got)
	}
}

func TestHandleZeroCanBeStuckTo(t *testing.T) {
	var c Chooser
	c.Choose(Sticky, members(0, 1), Draw{Random: 0})
	if got := c.Choose(Sticky, members(0, 1), Draw{Random: 1}); got != 0 {
		t.Errorf("the choice moved to %d", got)
	}
}

func TestHashStrategiesLookAtTheirOwnHash(t *testing.T) {
	var c Chooser
	rows := members(1, 2, 3, 4, 5, 6, 7)
	counts := map[Strategy][]int{HashClientID: make([]int, 7), HashTopic: make([]int, 7)}
	for i := range uint64(7000) {
		h := mix(i, 1)
		client := c.Choose(HashClientID, rows, Draw{Client: h, Topic: i, Random: i})
		topic := c.Choose(HashTopic, rows, Draw{Topic: h, Client: i * 3, Random: i})
		if client != topic {
			t.Fatalf("hash %d chooses %d by client and %d by topic", h, client, topic)
		}
		counts[HashClientID][client]++
		counts[HashTopic][topic]++
	}
	for s, n := range counts {
		if slices.Min(n) < 850 || slices.Max(n) > 1150 {
			t.Errorf("%v spreads 7,000 as %v", s, n)
		}
	}
}

func TestOneMoreMemberMovesOnlyItsShare(t *testing.T) {
	moved := 0
	for i := range uint64(10_000) {
		h := mix(i, 2)
		before, after := jump(h, 9), jump(h, 10)
		if before == after {
			continue
		}
		moved++
		if after != 9 {
			t.Fatalf("hash %d moved from %d to %d, which is not the new member", h, before, after)
		}
	}
	if moved < 850 || moved > 1150 {
		t.Errorf("%d of 10,000 moved, want about 1,000", moved)
	}
}

func TestChooserBetweenLoops(t *testing.T) {
	var c Chooser
	rows := members(1, 2, 3, 4)
	counts := make([][4]int, 4)
	var loops sync.WaitGroup
	for l := range counts {
		loops.Go(func() {
			for range 1000 {
				counts[l][c.Choose(RoundRobin, rows, Draw{})]++
			}
		})
	}
	loops.Wait()
	var sum [4]int
	for _, n := range counts {
		for i := range n {
			sum[i] += n[i]
		}
	}
	if sum != [4]int{1000, 1000, 1000, 1000} {
		t.Errorf("turns of four members: %v", sum)
	}
}
