package crash

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	ours "github.com/fantail-mqtt/fantail/client"
)

// original is a data directory of a server that was killed, with more than 64 MiB
// queued, which its memory tables do not take. Four sessions share it: z is in the
// log; a and n are in tables, and in none together, since what m has lies between
// them both in time and in the order of keys. m is too long to look at each time.
type original struct {
	dir      string
	sessions map[string][]uint64 // what was acknowledged for each
	table    string              // has a part of a
	log      string              // has a part of z
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
	until(t, "a is in a table", func() bool {
		fill("m", parcelSize)
		o.table = o.holder(t, "*.sst", senders["a"].acknowledged)
		return o.table != ""
	})
	fill("z", 2<<20)
	for id, p := range senders {
		o.sessions[id] = p.acknowledged
	}
	s.kill()
	if o.log = o.holder(t, "*.log", o.sessions["z"]); o.log == "" {
		t.Fatal("z is not in the log")
	}
	return o
}

// holder is the file that has one of the later parcels.
func (o *original) holder(t *testing.T, pattern string, parcels []uint64) string {
	t.Helper()
	for _, name := range files(t, o.dir, pattern) {
		content, err := os.ReadFile(name)
		if err == nil && find(content, parcels) >= 0 { // a compaction may have removed it
			return filepath.Base(name)
		}
	}
	return ""
}

// find says where in a file one of the later parcels is, -1 if none is.
func find(content []byte, parcels []uint64) int {
	for _, n := range parcels[len(parcels)/2:] {
		if at := bytes.Index(content, parcel(n, parcelSize)[8:200]); at >= 0 {
			return at
		}
	}
	return -1
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
	// few: what is missing is no more than a block has.
	few bool
}

func (o *original) injuries() []injury {
	table, log, all := o.table, o.log, "amnz"
	return []injury{
		{name: "a table is missing", do: remove(table), hurt: "a", aside: true},
		{name: "all tables are missing", do: remove("*.sst"), hurt: all, aside: true},
		{name: "a table is cut short", do: spoil(table, o.cut("a")), hurt: "a", aside: true},
		{name: "a table cannot be opened", do: unreadable(table), hurt: "a", aside: true},
		{name: "a block is damaged", do: spoil(table, o.hit("a")), hurt: "a", few: true},
		{name: "the end of a table is damaged", do: spoil(table, flip), hurt: "a", aside: true},
		{name: "the manifest is missing", do: remove("MANIFEST-*"), refuses: true},
		{name: "the marker is missing", do: remove("marker.manifest.*"), refuses: true},
		{name: "the format is missing", do: remove("fantail.format"), refuses: true},
		{name: "the options are missing", do: remove("OPTIONS-*")},
		{name: "the log is missing", do: remove(log), refuses: true, hurt: all},
		{name: "the list of logs is missing", do: remove("fantail.logs"), refuses: true, hurt: all},
		{name: "the log is cut short", do: spoil(log, o.cut("z")), hurt: "z"},
		{name: "the log ends with noise", do: spoil(log, func(b []byte) []byte { return append(b, parcel(1, 5000)...) })},
		{name: "the log is damaged", do: spoil(log, o.hit("z")), hurt: "z"},
	}
}

// hit damages a parcel of a session.
func (o *original) hit(id string) func(b []byte) []byte {
	return func(b []byte) []byte {
		at := find(b, o.sessions[id])
		for i := range 60 {
			b[at+100+i] ^= 0x5a
		}
		return b
	}
}

// cut ends a file in a parcel of a session.
func (o *original) cut(id string) func(b []byte) []byte {
	return func(b []byte) []byte { return b[:find(b, o.sessions[id])+1000] }
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

// spoil changes a file.
func spoil(name string, change func([]byte) []byte) func(t *testing.T, dir string) {
	return func(t *testing.T, dir string) {
		name := filepath.Join(dir, "store", name)
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

// flip damages the end of a file.
func flip(b []byte) []byte {
	for i := range 60 {
		b[len(b)-1-i] ^= 0x5a
	}
	return b
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
		if d.ended != nil {
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
	if (missing > 0) != (in.hurt != "") {
		t.Error("the injury is not what the test takes it for")
	}
	if in.few {
		if missing > 4 {
			t.Errorf("%d messages are missing, of which a block has few", missing)
		}
		counted(t, s, "a", missing)
	}
	if missing > 0 && report == "" {
		t.Error("the log has no word of what is missing")
	}
	if aside, _ := filepath.Glob(filepath.Join(s.dir, "quarantine", "*")); in.aside && len(aside) == 0 {
		t.Error("nothing is in the quarantine")
	}
}

// counted waits until the messages that a session has lost are counted. That is when it
// has taken the others and asks for more.
func counted(t *testing.T, s *server, id string, missing int) {
	t.Helper()
	c, err := ours.Dial(t.Context(), ours.Options{
		URL: "mqtt://" + s.at(), ClientID: id, Properties: durable5(), OnMessage: func(*ours.Message) {},
	})
	if err != nil {
		t.Fatalf("resume %s: %v", id, err)
	}
	defer func() { _ = c.Close() }()
	until(t, "what is missing is counted", func() bool {
		return s.counter(t, `fantail_messages_dropped_total{reason="unreadable"}`) == missing
	})
}
