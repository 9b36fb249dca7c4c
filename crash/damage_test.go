package crash

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/fantail-mqtt/fantail/packet"
)

// original is a data directory of a server that was killed, with more than 64 MiB
// queued, which its memory tables do not take. Four sessions share it: z is in the
// log; a and n are in tables, and in none together, since what m has lies between
// them both in time and in the order of keys. m is too long to look at each time.
type original struct {
	dir      string
	sessions map[string][]uint64 // what was acknowledged for each
	table    string              // has a part of a
}

const parcelSize = 16 << 10

func topicOf(id string) string { return "q/" + id }

func newOriginal(t *testing.T) *original {
	t.Helper()
	o := &original{dir: filepath.Join(t.TempDir(), "data"), sessions: map[string][]uint64{}}
	s, _ := newHost(t, o.dir)
	s.running(t)
	senders := map[string]*sender{}
	for i, id := range []string{"a", "m", "n", "z"} {
		enrol(t, s, id, topicOf(id))
		senders[id] = newSender(t, s, topicOf(id), parcelSize)
		senders[id].next = uint64(i+1) << 32 // the payloads are all different
	}
	fill := func(id string, size int) { senders[id].burst(t, size/parcelSize) }
	fill("n", 2<<20)
	fill("m", 42<<20)
	fill("a", 2<<20)
	fill("m", 18<<20)
	acknowledged := senders["a"].acknowledged
	until(t, "a is in a table", func() bool {
		fill("m", parcelSize)
		o.table = o.holder(t, "*.sst", acknowledged[len(acknowledged)/2])
		return o.table != ""
	})
	fill("z", 2<<20)
	for id, p := range senders {
		o.sessions[id] = p.acknowledged
	}
	s.kill()
	return o
}

// holder is the file that has a parcel.
func (o *original) holder(t *testing.T, pattern string, n uint64) string {
	t.Helper()
	part := parcel(n, parcelSize)[8:200]
	for _, name := range files(t, o.dir, pattern) {
		content, err := os.ReadFile(name)
		if err == nil && bytes.Contains(content, part) { // a compaction may have removed it
			return filepath.Base(name)
		}
	}
	return ""
}

// files are those of a store with such a name, the oldest first.
func files(t *testing.T, dir, pattern string) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, "store", pattern))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(list)
	return list
}

// copied is a copy to spoil. Tables are written once, so a link will do: to damage
// one, another file takes its place.
func (o *original) copied(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.MkdirAll(filepath.Join(dir, "store"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, from := range files(t, o.dir, "*") {
		to := filepath.Join(dir, "store", filepath.Base(from))
		if strings.HasSuffix(from, ".sst") && os.Link(from, to) == nil {
			continue
		}
		content, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// injury is what happens to a data directory while no server runs.
type injury struct {
	name string
	do   func(t *testing.T, dir string)
	// refuses: the server may refuse it, with a sentence, and change nothing.
	refuses bool
	// hurt are the sessions of which something may be missing.
	hurt string
	// aside: if the server starts, the damaged files are in the quarantine.
	aside bool
	// later: it is found only when the session is drained, which ends its connection.
	later bool
}

func (o *original) injuries() []injury {
	table, log, all := o.table, "*.log", "amnz"
	return []injury{
		{name: "a table is missing", do: remove(table), refuses: true, hurt: "a", aside: true},
		{name: "all tables are missing", do: remove("*.sst"), refuses: true, hurt: all, aside: true},
		{name: "a table is cut short", do: spoil(table, cut(0.5)), refuses: true, hurt: "a", aside: true},
		{name: "a table cannot be opened", do: unreadable(table), refuses: true, hurt: "a", aside: true},
		{name: "a block is damaged", do: spoil(table, o.hit), hurt: "a", later: true},
		{name: "the end of a table is damaged", do: spoil(table, flip(1)), hurt: "a", aside: true},
		{name: "the manifest is missing", do: remove("MANIFEST-*"), refuses: true},
		{name: "the marker is missing", do: remove("marker.manifest.*"), refuses: true},
		{name: "the format is missing", do: remove("fantail.format"), refuses: true},
		{name: "the options are missing", do: remove("OPTIONS-*")},
		{name: "the log is cut short", do: spoil(log, cut(0.99)), hurt: "z"},
		{name: "the log ends with noise", do: spoil(log, func(b []byte) []byte { return append(b, parcel(1, 5000)...) })},
		{name: "the log is damaged", do: spoil(log, flip(0.5)), hurt: "z"},
	}
}

// hit damages a parcel of a.
func (o *original) hit(b []byte) []byte {
	list := o.sessions["a"]
	at := bytes.Index(b, parcel(list[len(list)/2], parcelSize)[8:200])
	for i := range 60 {
		b[at+100+i] ^= 0x5a
	}
	return b
}

// remove takes away the files with such a name.
func remove(pattern string) func(t *testing.T, dir string) {
	return func(t *testing.T, dir string) {
		for _, name := range files(t, dir, pattern) {
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// spoil changes the last of the files with such a name.
func spoil(pattern string, change func([]byte) []byte) func(t *testing.T, dir string) {
	return func(t *testing.T, dir string) {
		list := files(t, dir, pattern)
		name := list[len(list)-1]
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(name); err != nil { // the original has it too
			t.Fatal(err)
		}
		write(t, name, string(change(content)))
	}
}

// cut keeps a part of a file.
func cut(part float64) func(b []byte) []byte {
	return func(b []byte) []byte { return b[:int(part*float64(len(b)))] }
}

// flip damages some bytes at a part of a file.
func flip(part float64) func(b []byte) []byte {
	return func(b []byte) []byte {
		const n = 60
		for i := range n {
			b[int(part*float64(len(b)-n))+i] ^= 0x5a
		}
		return b
	}
}

// unreadable puts something in the place of a file that root cannot read either.
func unreadable(name string) func(t *testing.T, dir string) {
	return func(t *testing.T, dir string) {
		name := filepath.Join(dir, "store", name)
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(name, 0o700); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDamageIsReportedAndTheRestServed(t *testing.T) {
	o := newOriginal(t)
	before := fingerprint(t, o.dir)
	for _, in := range o.injuries() {
		t.Run(in.name, func(t *testing.T) {
			in.inflict(t, o)
		})
	}
	if fingerprint(t, o.dir) != before {
		t.Error("a file that was linked was changed")
	}
}

// inflict damages a copy and starts a server on it.
func (in *injury) inflict(t *testing.T, o *original) {
	t.Helper()
	dir := o.copied(t)
	in.do(t, dir)
	s, said := newHost(t, dir)
	spoiled := fingerprint(t, dir)
	err := s.start(t.Context())
	switch {
	case err == nil:
		in.served(t, o, s, said)
	case !in.refuses:
		t.Errorf("the server does not start with the rest: %v", err)
	default:
		mustRefuse(t, dir)
		if fingerprint(t, dir) != spoiled {
			t.Error("the first start has changed the directory")
		}
	}
}

// served is what must hold if the server starts: it serves what is whole, and tells
// of the rest.
func (in *injury) served(t *testing.T, o *original, s *server, said *journal) {
	t.Helper()
	missing := 0
	for _, id := range []string{"a", "n", "z"} {
		d := drain(t, s, id, topicOf(id))
		if !strings.Contains(in.hurt, id) {
			d.complete(t, o.sessions[id])
			continue
		}
		var why *packet.Refusal
		if in.later && (!errors.As(d.ended, &why) || why.Code != packet.UnspecifiedError) {
			t.Errorf("the connection of %s ended with %v, want an unspecified error", id, d.ended)
		}
		if d.ended != nil && !in.later {
			t.Errorf("%s cannot be drained: %v", id, d.ended)
		}
		d.inOrder(t)
		if d.damaged > 0 {
			t.Errorf("%d damaged messages came to %s", d.damaged, id)
		}
		missing += len(o.sessions[id]) - len(d.parcels)
	}
	report := strings.TrimSpace(lineWith(said.String(), "level=ERROR") + lineWith(said.String(), "level=WARN"))
	t.Logf("%d messages are missing; %.300s", missing, report)
	if missing > 0 && report == "" {
		t.Error("the log has no word of what is missing")
	}
	if aside, _ := filepath.Glob(filepath.Join(s.dir, "quarantine", "*")); in.aside && len(aside) == 0 {
		t.Error("nothing is in the quarantine")
	}
}
