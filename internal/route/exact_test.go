package route

import (
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

func TestExactsAgreeWithAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := newExacts(maphash.MakeSeed())
		m := map[string]uint32{}
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		names := rapid.SampledFrom([]int{10, 500, 5000}).Draw(t, "names")
		for round := range 4 {
			adding := []int{9, 5, 1, 7}[round] // of ten steps
			for step := range uint32(2 * names) {
				name := fmt.Sprint("a/", rng.IntN(names))
				_, has := m[name]
				switch {
				case rng.IntN(10) < adding:
					if c := x.make(name); has != !c.empty() {
						t.Fatalf("%s: new %v, want %v", name, c.empty(), !has)
					} else {
						*c = cell{step, 1}
					}
					m[name] = step
				case has:
					x.remove(name)
					delete(m, name)
				default:
					if x.find(name) != nil {
						t.Fatalf("%s is there", name)
					}
				}
			}
			checkExacts(t, &x, m)
		}
		for name := range m {
			x.remove(name)
		}
		checkExacts(t, &x, nil)
		if len(x.parts) != 1 || used(&x.texts.blocks) != 0 {
			t.Fatalf("%d parts and %d texts are left for nothing", len(x.parts), used(&x.texts.blocks))
		}
	})
}

func checkExacts(t *rapid.T, x *exacts, m map[string]uint32) {
	for name, want := range m {
		if c := x.find(name); c == nil || c.to != want {
			t.Fatalf("%s is %v, want %d", name, c, want)
		}
	}
	n, sole := 0, 0
	for i, p := range x.parts {
		if first := i >> (x.depth - p.depth) << (x.depth - p.depth); x.parts[first] != p {
			t.Fatalf("part %d of depth %d of %d is not that of %d", i, p.depth, x.depth, first)
		} else if first == i {
			n += int(p.n)
		}
		if p.depth == x.depth {
			sole++
		}
	}
	if x.depth == 0 {
		sole = x.sole // not counted
	}
	if n != len(m) || x.n != n || sole != x.sole {
		t.Fatalf("%d filters, counted %d, want %d; %d parts are in the list once, counted %d", n, x.n, len(m), sole, x.sole)
	}
}
