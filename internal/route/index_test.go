package route

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/fantail-mqtt/fantail/topic"
)

func filter(t testing.TB, s string) topic.Filter {
	t.Helper()
	f, err := topic.ParseFilter(s, 0)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

const plenty = 1 << 20 // a budget that is never the matter

// match is Match with the rows in an order that tests can compare.
func match(t testing.TB, x *Index, name string) []Row {
	t.Helper()
	rows, complete := x.Match(name, plenty, nil)
	if !complete {
		t.Fatalf("match of %q did not complete", name)
	}
	sortRows(rows)
	return rows
}

func sortRows(rows []Row) { slices.SortFunc(rows, compareRows) }

func compareRows(a, b Row) int {
	return cmp.Or(cmp.Compare(a.To, b.To), cmp.Compare(a.Group, b.Group), cmp.Compare(a.ID, b.ID), cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)))
}

func TestMatch(t *testing.T) {
	cases := map[string]struct {
		filters []string // subscriber n, counted from 1, takes the nth
		want    map[string][]Handle
	}{
		"exact": {
			filters: []string{"a/b", "a", "a/b", "a//b"},
			want:    map[string][]Handle{"a/b": {1, 3}, "a": {2}, "b": nil, "a//b": {4}, "a/": nil},
		},
		"wildcards": {
			filters: []string{"#", "a/#", "a/+", "+/b", "+", "+/+", "/+", "a/+/#"},
			want: map[string][]Handle{
				"a":     {1, 2, 5},
				"a/b":   {1, 2, 3, 4, 6, 8},
				"a/b/c": {1, 2, 8},
				"/b":    {1, 4, 6, 7},
				"a/":    {1, 2, 3, 6, 8},
			},
		},
		"names that begin with $ are hidden from leading wildcards [MQTT-4.7.2-1]": {
			filters: []string{"#", "+/x", "+/#", "$SYS/#", "$SYS/+", "$SYS/x", "a/#"},
			want: map[string][]Handle{
				"$SYS/x": {4, 5, 6},
				"$SYS":   {4},
				"a/$SYS": {1, 3, 7},
			},
		},
		"local is as good as plain": {
			filters: []string{"$local/a", "a", "$local/+"},
			want:    map[string][]Handle{"a": {1, 2, 3}, "$local/a": nil},
		},
		"shared": {
			filters: []string{"$share/g/a", "$share/h/a", "$share/g/+", "$queue/a", "a"},
			want:    map[string][]Handle{"a": {1, 2, 3, 4, 5}},
		},
		"empty levels are levels": {
			filters: []string{"/", "//", "+/", "/+/", "+/+"},
			want:    map[string][]Handle{"/": {1, 3, 5}, "//": {2, 4}},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			x := NewIndex()
			for i, f := range c.filters {
				if x.Subscribe(filter(t, f), Handle(i+1), Options{}) {
					t.Errorf("%s existed already", f)
				}
			}
			for topicName, want := range c.want {
				var got []Handle
				for _, r := range match(t, x, topicName) {
					got = append(got, r.To)
				}
				if !slices.Equal(got, want) {
					t.Errorf("%q reaches %v, want %v", topicName, got, want)
				}
			}
		})
	}
}

func TestOptionsComeBackAsTheyWereGiven(t *testing.T) {
	x := NewIndex()
	var want []Row
	for i, o := range []Options{
		{},
		{QoS: 1},
		{QoS: 2, NoLocal: true},
		{RetainAsPublished: true, ID: 1},
		{QoS: 2, NoLocal: true, RetainAsPublished: true, ID: 268_435_455},
		{QoS: 1, ID: 1<<32 - 1}, // more than the protocol has
		{QoS: 3},                // nor this
	} {
		for _, f := range []string{"a", "+"} {
			h := Handle(10*i + len(want))
			x.Subscribe(filter(t, f), h, o)
			alone := NewIndex()
			alone.Subscribe(filter(t, f), h, o)
			want = append(want, Row{To: h, Options: o})
			if got := match(t, alone, "a"); !slices.Equal(got, want[len(want)-1:]) {
				t.Errorf("alone on %s: %+v, want %+v", f, got, want[len(want)-1])
			}
		}
	}
	sortRows(want)
	if got := match(t, x, "a"); !slices.Equal(got, want) {
		t.Errorf("together: %+v, want %+v", got, want)
	}
}

func TestTheSameFilterAgainReplacesItsOptions(t *testing.T) {
	for _, s := range []string{"a", "+", "a/#", "$share/g/a", "$queue/+", "$local/a"} {
		x, f := NewIndex(), filter(t, s)
		x.Subscribe(f, 7, Options{QoS: 2, ID: 5})
		if !x.Subscribe(f, 7, Options{QoS: 1, NoLocal: true}) {
			t.Errorf("%s: the second time it did not exist", s)
		}
		got := match(t, x, "a")
		if len(got) != 1 || got[0].QoS != 1 || !got[0].NoLocal || got[0].ID != 0 {
			t.Errorf("%s: %+v, want one row with the new options", s, got)
		}
		if x.Len() != 1 {
			t.Errorf("%s: %d subscriptions, want 1", s, x.Len())
		}
	}
}

func TestKindsOfOneFilterAreSubscriptionsApart(t *testing.T) {
	x := NewIndex()
	kinds := []string{"a", "$local/a", "$share/g/a", "$share/h/a", "$queue/a"}
	for _, s := range kinds {
		if x.Subscribe(filter(t, s), 1, Options{}) {
			t.Errorf("%s was taken for another", s)
		}
	}
	for i, s := range kinds {
		if got := match(t, x, "a"); len(got) != len(kinds)-i {
			t.Errorf("before %s goes there are %+v", s, got)
		}
		if !x.Unsubscribe(filter(t, s), 1) {
			t.Errorf("%s did not exist", s)
		}
		if x.Unsubscribe(filter(t, s), 1) {
			t.Errorf("%s existed twice", s)
		}
	}
	if x.Len() != 0 || x.Groups() != 0 {
		t.Errorf("%d subscriptions and %d groups are left", x.Len(), x.Groups())
	}
}

func TestUnsubscribeOfWhatIsNotThere(t *testing.T) {
	x := NewIndex()
	x.Subscribe(filter(t, "a/b"), 1, Options{})
	x.Subscribe(filter(t, "a/+/c"), 1, Options{})
	for _, s := range []string{"a", "a/b/c", "a/+", "a/#", "#", "+", "x/+", "$share/g/a/b", "$local/a/b", "$queue/a/+/c"} {
		if x.Unsubscribe(filter(t, s), 1) {
			t.Errorf("%s existed", s)
		}
	}
	if x.Unsubscribe(filter(t, "a/b"), 2) || x.Unsubscribe(filter(t, "a/+/c"), 2) {
		t.Error("another's subscription was removed")
	}
	if x.Len() != 2 {
		t.Errorf("%d subscriptions, want 2", x.Len())
	}
}

func TestMatchOrdersSharedRowsBehindTheOthers(t *testing.T) {
	x := NewIndex()
	rng := rand.New(rand.NewPCG(1, 2))
	for _, h := range rng.Perm(40) {
		x.Subscribe(filter(t, []string{"a/b", "$share/g/a/b", "$share/h/a/b", "$share/g/a/+"}[h%4]), Handle(h), Options{})
	}
	head := []Row{{To: 1, Group: 99}, {To: 0}}
	rows, _ := x.Match("a/b", plenty, slices.Clone(head))
	if !slices.Equal(rows[:2], head) {
		t.Fatalf("the rows before were touched: %+v", rows[:2])
	}
	rows = rows[2:]
	for i, r := range rows {
		if (r.Group == 0) != (i < 10) {
			t.Fatalf("row %d of %d is of group %d", i, len(rows), r.Group)
		}
		if i > 10 && (r.Group < rows[i-1].Group || r.Group == rows[i-1].Group && r.To <= rows[i-1].To) {
			t.Fatalf("row %d %+v after %+v", i, r, rows[i-1])
		}
	}
}

func TestGroups(t *testing.T) {
	x := NewIndex()
	subscribe := func(s string, h Handle) Group {
		x.Subscribe(filter(t, s), h, Options{})
		f := filter(t, s)
		return x.groups.find(f.Group, f.Path)
	}
	g := subscribe("$share/g/a/b", 1)
	if again := subscribe("$share/g/a/b", 2); again != g {
		t.Errorf("the second member is in group %d, want %d", again, g)
	}
	queue := subscribe("$queue/a/b", 3)
	wild := subscribe("$share/g/a/+", 1)
	if g == queue || g == wild || queue == wild {
		t.Errorf("groups %d, %d, %d are not apart", g, queue, wild)
	}
	for id, want := range map[Group][2]string{g: {"g", "a/b"}, queue: {"", "a/b"}, wild: {"g", "a/+"}, 77: {"", ""}} {
		if name, path := x.GroupName(id); name != want[0] || path != want[1] {
			t.Errorf("group %d is %q of %q, want %q", id, name, path, want)
		}
	}
	before := []Row{{To: 5, Group: 1234}}
	if got := x.Members(g, before); !slices.Equal(got, []Row{before[0], {To: 1, Group: g}, {To: 2, Group: g}}) {
		t.Errorf("members of %d: %+v", g, got)
	}
	x.Unsubscribe(filter(t, "$share/g/a/b"), 1)
	if name, _ := x.GroupName(g); name != "g" {
		t.Error("the group went with its first member")
	}
	x.Unsubscribe(filter(t, "$share/g/a/b"), 2)
	if name, path := x.GroupName(g); name != "" || path != "" {
		t.Errorf("the group without members is still %q of %q", name, path)
	}
	if got := x.Members(g, nil); len(got) != 0 {
		t.Errorf("a group that has gone has members %+v", got)
	}
	if again := subscribe("$share/g/a/b", 1); again == g {
		t.Error("the number of a group that had gone was used again")
	}
	if x.Groups() != 3 {
		t.Errorf("%d groups, want 3", x.Groups())
	}
}

func TestBudgetBoundsAHostileSet(t *testing.T) {
	x := NewIndex()
	const depth = 10
	for i := range 1 << depth {
		x.Subscribe(filter(t, hostile(depth, i)), 1, Options{})
	}
	name := strings.Repeat("a/", depth) + "b"
	x.Subscribe(filter(t, name), 2, Options{})
	x.Subscribe(filter(t, strings.Repeat("a/", depth)+"#"), 3, Options{})
	if rows, complete := x.Match(name, 100, nil); complete || len(rows) != 2 {
		t.Errorf("100 nodes: complete %v, rows %+v, want the exact filter and the literal one", complete, rows)
	}
	nodes := 1<<(depth+1) - 1
	if _, complete := x.Match(name, nodes-1, nil); complete {
		t.Errorf("%d nodes are said to be enough", nodes-1)
	}
	if rows, complete := x.Match(name, nodes, nil); !complete || len(rows) != 2 {
		t.Errorf("%d nodes: complete %v, rows %+v", nodes, complete, rows)
	}
	if rows, complete := x.Match(name, -1, nil); complete || len(rows) != 1 {
		t.Errorf("no budget: complete %v, rows %+v, want the exact filter", complete, rows)
	}
}

// hostile is one of the filters {a,+}^depth/z.
func hostile(depth, which int) string {
	levels := make([]string, depth, depth+1)
	for i := range levels {
		levels[i] = []string{"a", "+"}[which>>i&1]
	}
	return strings.Join(append(levels, "z"), "/")
}

func TestNamesDeeperThanTheRememberedHashes(t *testing.T) {
	x := NewIndex()
	deep := strings.Repeat("a/", 200)
	for i, s := range []string{deep + "+", strings.Repeat("+/", 200) + "b", deep + "#", deep + "+/#"} {
		x.Subscribe(filter(t, s), Handle(i), Options{})
	}
	x.Subscribe(filter(t, strings.Repeat("a/", 199)+"b/+"), 9, Options{})
	if got := match(t, x, deep+"b"); len(got) != 4 {
		t.Errorf("%d rows, want 4: %+v", len(got), got)
	}
}

// checkEmpty checks that nothing is held for subscriptions that have gone.
func checkEmpty(t interface{ Fatalf(string, ...any) }, x *Index) {
	if x.Len() != 0 || x.Groups() != 0 || x.exact.n != 0 || x.wild.nodes.n != 0 || !x.wild.empty() || x.wild.root.plus != 0 || x.groups.table.n != 0 || len(x.exact.parts) != 1 || len(x.rows.where) != 0 {
		t.Fatalf("left: %d subscriptions, %d groups, %d exact filters, %d nodes, %d indexed lists", x.Len(), x.Groups(), x.exact.n, x.wild.nodes.n, len(x.rows.where))
	}
	lists := int(x.rows.lists.next) - len(x.rows.lists.free)
	blocks := used(&x.rows.blocks) + used(&x.exact.texts.blocks) + used(&x.wild.levels.blocks) + used(&x.groups.names.blocks)
	if lists > 1 || blocks > 0 {
		t.Fatalf("left: %d lists, %d blocks", lists-1, blocks)
	}
}

func used[T any](b *blocks[T]) int {
	n := 0
	for _, c := range b.classes {
		n += int(c.next) - len(c.free)
	}
	return n
}

func TestOneFilterOfVeryManyAndBack(t *testing.T) {
	x := NewIndex()
	rng := rand.New(rand.NewPCG(3, 4))
	kinds := []topic.Filter{filter(t, "a"), filter(t, "+"), filter(t, "$share/g/a")}
	const many = 20_000
	for _, f := range kinds {
		for _, h := range rng.Perm(many) {
			x.Subscribe(f, Handle(h), Options{ID: uint32(h)})
		}
	}
	if got := match(t, x, "a"); len(got) != 3*many {
		t.Fatalf("%d rows, want %d", len(got), 3*many)
	}
	for _, f := range kinds {
		for _, h := range rng.Perm(many)[:many-10] {
			if !x.Unsubscribe(f, Handle(h)) {
				t.Fatalf("%d had gone from %s", h, f.Full)
			}
		}
	}
	left := match(t, x, "a")
	if len(left) != 30 {
		t.Fatalf("%d rows, want 30", len(left))
	}
	for _, r := range left {
		if r.ID != uint32(r.To) {
			t.Errorf("row %+v has the options of another", r)
		}
		for _, f := range kinds {
			x.Unsubscribe(f, r.To)
		}
	}
	checkEmpty(t, x)
}

func TestReadersBesideAWriter(t *testing.T) {
	x := NewIndex()
	x.Subscribe(filter(t, "a/b"), 1, Options{})
	x.Subscribe(filter(t, "a/+"), 2, Options{})
	x.Subscribe(filter(t, "$share/g/a/#"), 3, Options{})
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			var rows []Row
			for {
				select {
				case <-stop:
					return
				default:
				}
				m := x.Mark([]byte("a/b"))
				x.Holds(&m, []byte("a/b"))
				rows, _ = x.Match("a/b", plenty, rows[:0])
				seen := 0
				for _, r := range rows {
					if r.To <= 3 {
						seen++
					}
					if r.Group != 0 {
						x.GroupName(r.Group)
						x.Members(r.Group, nil)
					}
				}
				if seen != 3 {
					t.Errorf("%d of the 3 standing subscriptions matched", seen)
					return
				}
			}
		})
	}
	rng := rand.New(rand.NewPCG(5, 6))
	for range 20_000 {
		f := filter(t, []string{"a/b", "a/+", "#", "$share/g/a/#", "$queue/+/b", "a/c", "b/+/c"}[rng.IntN(7)])
		h := Handle(4 + rng.IntN(200))
		if rng.IntN(2) == 0 {
			x.Subscribe(f, h, Options{})
			continue
		}
		x.Unsubscribe(f, h)
	}
	close(stop)
	readers.Wait()
}

func TestReadingDoesNotAllocate(t *testing.T) {
	x := NewIndex()
	for i := range 200 {
		x.Subscribe(filter(t, "acme/site/dev/temp"), Handle(i), Options{})
		x.Subscribe(filter(t, "acme/+/dev/#"), Handle(i), Options{})
		x.Subscribe(filter(t, "$share/g/acme/site/+/temp"), Handle(i), Options{})
	}
	rows := make([]Row, 0, 1000)
	name := []byte("acme/site/dev/temp")
	text, mark := string(name), x.Mark(name)
	for what, f := range map[string]func(){
		"Match": func() { rows, _ = x.Match(text, plenty, rows[:0]) },
		"Mark":  func() { mark = x.Mark(name) },
		"Holds": func() { x.Holds(&mark, name) },
		"Holds after a change": func() {
			x.changes.changed("zone/+/1")
			x.Holds(&mark, name)
		},
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations, want 0", what, n)
		}
	}
	if len(rows) != 600 {
		t.Errorf("%d rows, want 600", len(rows))
	}
}
