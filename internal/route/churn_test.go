package route

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/fantail-mqtt/fantail/topic"
)

// footprint is what an index holds, in use or not: numbers given out once, and
// blocks.
func footprint(x *Index) map[string]int {
	return map[string]int{
		"exact filters": int(x.exact.next),
		"nodes":         int(x.wild.nodes.next),
		"lists":         int(x.rows.lists.next),
		"groups":        int(x.groups.table.next),
		"row blocks":    blockBytes(&x.rows.blocks, 16),
		"texts":         blockBytes(&x.texts.blocks, 1),
		"levels":        blockBytes(&x.wild.levels.blocks, 1),
		"names":         blockBytes(&x.groups.names.blocks, 1),
	}
}

func blockBytes[T any](b *blocks[T], each int) int {
	n := 0
	for i, c := range b.classes {
		n += int(c.next) * b.size(i) * each
	}
	return n
}

func TestChurnDoesNotGrowTheIndex(t *testing.T) {
	steps := 3_000_000
	if testing.Short() {
		steps = 300_000
	}
	x := NewIndex()
	rng := rand.New(rand.NewPCG(7, 8))
	type sub struct {
		f  topic.Filter
		to Handle
	}
	var live []sub
	var before map[string]int
	for step := range steps {
		if len(live) < 2000 || len(live) < 4000 && rng.IntN(2) == 0 {
			s := sub{filter(t, churnFilter(rng)), Handle(rng.IntN(300))}
			if !x.Subscribe(s.f, s.to, Options{}) {
				live = append(live, s)
			}
		} else {
			i := rng.IntN(len(live))
			if !x.Unsubscribe(live[i].f, live[i].to) {
				t.Fatalf("%+v had gone", live[i])
			}
			live[i] = live[len(live)-1]
			live = live[:len(live)-1]
		}
		if step == steps/4 {
			before = footprint(x)
		}
	}
	for what, n := range footprint(x) {
		if was := before[what]; n > was+was/4+1024 {
			t.Errorf("%s grew from %d to %d", what, was, n)
		}
	}
	for _, s := range live {
		x.Unsubscribe(s.f, s.to)
	}
	checkEmpty(t, x)
}

func churnFilter(rng *rand.Rand) string {
	site, dev := rng.IntN(50), rng.IntN(1_000_000)
	switch rng.IntN(8) {
	case 0:
		return fmt.Sprintf("acme/site%d/+/d%d", site, dev)
	case 1:
		return fmt.Sprintf("acme/site%d/dev%d/#", site, dev)
	case 2:
		return fmt.Sprintf("$share/g%d/acme/site%d", rng.IntN(1000), site)
	case 3:
		return fmt.Sprintf("$share/g/acme/+/d%d", dev%100)
	case 4:
		return "acme/all"
	case 5:
		return fmt.Sprintf("$local/+/%0*d", 1+rng.IntN(60), dev)
	default:
		return fmt.Sprintf("acme/site%d/dev%0*d", site, 1+rng.IntN(200), dev)
	}
}
