package file

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fantail-mqtt/fantail/internal/auth/hash"
)

func TestAChangeLeavesTheRestAlone(t *testing.T) {
	text := "# devices\n\nann:" + pencil + "\n  bob : " + x + "\r\n# the end\nbroken"
	d := ParseDocument([]byte(text))
	if got := string(d.Bytes()); got != text {
		t.Errorf("unchanged:\n%q\n%q", got, text)
	}
	if d.Set("bob", pencil) || !d.Set("carl", x) {
		t.Error("who is new, and who is not?")
	}
	want := "# devices\n\nann:" + pencil + "\nbob:" + pencil + "\r\n# the end\nbroken\ncarl:" + x + "\n"
	if diff := cmp.Diff(want, string(d.Bytes())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !d.Delete("ann") || d.Delete("ann") || d.Delete("") {
		t.Error("ann is deleted twice, or never")
	}
	want = "# devices\n\nbob:" + pencil + "\r\n# the end\nbroken\ncarl:" + x + "\n"
	if diff := cmp.Diff(want, string(d.Bytes())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if empty := ParseDocument(nil); !empty.Set("ann", x) || string(empty.Bytes()) != "ann:"+x+"\n" {
		t.Errorf("%q", empty.Bytes())
	}
}

func TestPlainTextIsFound(t *testing.T) {
	d := ParseDocument([]byte("# old\nann:" + x + "\nbob:secret\ncarl:$ecret:with a colon\n"))
	got, err := d.Plain()
	if err != nil {
		t.Fatal(err)
	}
	want := []Entry{{"bob", "secret", 3}, {"carl", "$ecret:with a colon", 4}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	_, err = ParseDocument([]byte("bob:secret\ndora:$6$broken\nno colon\n")).Plain()
	if err == nil || !strings.Contains(err.Error(), ":2: the hash") || !strings.Contains(err.Error(), ":3: there is no colon") {
		t.Errorf("err = %v", err)
	}
}

// Any text is read without harm and written as it was, and a user that is set
// is there afterwards, once, and nobody else has changed.
func FuzzPasswordFile(f *testing.F) {
	f.Add([]byte("# devices\n\nann:"+pencil+"\n  bob : "+x+"\r\n"), "ann")
	f.Add([]byte("ann:secret\nann:"+x), "carl")
	f.Add([]byte("\ufeff:\n::\n#:\n"), "#")
	f.Add([]byte("\ufeff\ufeff\n"), "0")
	f.Fuzz(func(t *testing.T, text []byte, name string) {
		d := ParseDocument(text)
		if got := d.Bytes(); !bytes.Equal(got, bytes.TrimLeft(text, "\ufeff")) {
			t.Fatalf("%q is written as %q", text, got)
		}
		before, err := d.Entries()
		if CheckName(name) != nil {
			return
		}
		d.Set(name, x)
		again := ParseDocument(d.Bytes())
		if !bytes.Equal(again.Bytes(), d.Bytes()) {
			t.Fatalf("%q is read as %q", d.Bytes(), again.Bytes())
		}
		if err != nil {
			return
		}
		after, err := again.Entries()
		if err != nil {
			t.Fatalf("%q with %q is refused: %v", text, name, err)
		}
		found := 0
		for _, e := range after {
			if e.Name != name {
				continue
			}
			found++
			if h, err := hash.Parse(e.Kept); err != nil || !hash.Check(h, []byte("x")) {
				t.Errorf("the hash of %q is %q", name, e.Kept)
			}
		}
		if found != 1 || len(after)-len(before) > 1 {
			t.Errorf("%q is there %d times, %d users before and %d after", name, found, len(before), len(after))
		}
		d.Delete(name)
		for _, e := range before {
			if rest, _ := d.Entries(); e.Name != name && !contains(rest, e.Name, e.Kept) {
				t.Errorf("%q is gone", e.Name)
			}
		}
	})
}

func contains(list []Entry, name, kept string) bool {
	for _, e := range list {
		if e.Name == name && e.Kept == kept {
			return true
		}
	}
	return false
}
