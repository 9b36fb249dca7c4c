package route

import (
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestTableAgreesWithAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var table table[int]
		model := map[uint32]map[uint32]int{} // by hash, by number
		var ids []uint32
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		size := rapid.SampledFrom([]int{10, 1000, 6000}).Draw(t, "size")
		for step := range 4 * size { // grows, shrinks and grows again
			adding := []int{10, 10, 1, 9}[step/size]
			if rng.IntN(10) < adding || len(ids) == 0 {
				hash := rng.Uint32() % uint32(4*size) // some hashes repeat
				id := table.add(hash)
				*table.get(id) = step
				if model[hash] == nil {
					model[hash] = map[uint32]int{}
				}
				model[hash][id] = step
				ids = append(ids, id)
				continue
			}
			i := rng.IntN(len(ids))
			id := ids[i]
			delete(model[table.at(id).hash], id)
			table.remove(id)
			ids[i] = ids[len(ids)-1]
			ids = ids[:len(ids)-1]
		}
		if int(table.n) != len(ids) {
			t.Fatalf("%d entries, want %d", table.n, len(ids))
		}
		for hash, want := range model {
			seen := 0
			for id := table.first(hash); id != 0; id = table.after(id) {
				if v, ok := want[id]; !ok || *table.get(id) != v {
					t.Fatalf("hash %d has entry %d = %d, want one of %v", hash, id, *table.get(id), want)
				}
				seen++
			}
			if seen != len(want) {
				t.Fatalf("hash %d has %d entries, want %d", hash, seen, len(want))
			}
		}
	})
}

func TestTableKeepsItsChainsShort(t *testing.T) {
	var table table[int]
	for i := range uint32(50_000) {
		table.add(i * 2654435761)
	}
	longest := 0
	for b := range table.buckets {
		n := 0
		for id := *table.head(b); id != 0; id = table.at(id).next {
			n++
		}
		longest = max(longest, n)
	}
	if table.buckets < 99_999 || longest > 8 {
		t.Errorf("%d buckets for 50,000 entries, up to %d in one", table.buckets, longest)
	}
}

func TestBlockClasses(t *testing.T) {
	b := blocks[byte]{unit: 8}
	last := 0
	for n := 1; n <= textHead+65535; n++ {
		c := b.classOf(n)
		if c < last || c > last+1 {
			t.Fatalf("class of %d is %d, of %d it was %d", n, c, n-1, last)
		}
		if size := b.size(c); size < n || size > n+n/4+8 {
			t.Fatalf("a block for %d has %d", n, size)
		}
		last = c
	}
	if last >= 1<<(32-textBits)-1 {
		t.Fatalf("class %d cannot be named by a text", last)
	}
}

func TestTexts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newTexts()
		model := map[text]string{}
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				n := rapid.OneOf(rapid.IntRange(0, 40), rapid.IntRange(0, 65535)).Draw(t, "length")
				whole := strings.Repeat(rapid.StringN(1, 1, 1).Draw(t, "letter"), n)
				cut := rapid.IntRange(0, n).Draw(t, "cut")
				k := s.put(whole[:cut], whole[cut:])
				if k == 0 {
					t.Fatal("a text is 0, which means none")
				}
				if old, ok := model[k]; ok {
					t.Fatalf("text %d is in use for %.20q", k, old)
				}
				model[k] = whole
			},
			"drop": func(t *rapid.T) {
				for k := range model {
					s.drop(k)
					delete(model, k)
					return
				}
			},
			"": func(t *rapid.T) {
				for k, want := range model {
					if !s.is(k, want, "") || s.is(k, want, "x") || string(s.get(k)) != want {
						t.Fatalf("text %d is %.20q, want %.20q", k, s.get(k), want)
					}
				}
			},
		})
	})
}
