package loop

import (
	"strings"
	"testing"
	"time"

	"github.com/fantail-mqtt/fantail/internal/wheel"
)

// diary notes what a loop does, in its order: the bytes that its handlers are given,
// and a full stop for the end of each tick in which there were any.
type diary struct {
	text   strings.Builder
	effort int
	more   int // so many ticks leave something
	wrote  chan string
}

func (d *diary) Effort() int { return d.effort }
func (d *diary) Calm()       {}
func (d *diary) End()        { d.EndSome(false) }

func (d *diary) EndSome(bool) bool {
	if s := d.text.String(); s != "" && !strings.HasSuffix(s, ".") {
		d.text.WriteByte('.')
		d.wrote <- d.text.String()
	}
	d.more--
	return d.more >= 0
}

// TestTurns has one loop in which all of these are ready at once, in this order: a
// connection that has sent nothing so far, two that made much work with what they
// sent, and one that did not.
func TestTurns(t *testing.T) {
	w := wheel.New()
	t.Cleanup(w.Close)
	d := &diary{wrote: make(chan string, 100)}
	g, err := NewEpoll(Options{Loops: 1, Local: func() Local { return d }}, w)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	spin := time.Duration(0)
	s := serve(t, g, "tcp", func(p *probe) {
		p.data = func(_ Local, b []byte) int {
			d.text.Write(b)
			switch {
			case b[0] == 'm':
				d.effort += muchEffort
			case b[0] == 'l' && spin > 0:
				d.more = 3
			}
			for end := time.Now().Add(spin); time.Now().Before(end); {
			}
			return len(b)
		}
	})
	write := func(c interface{ Write([]byte) (int, error) }, what string) {
		if _, err := c.Write([]byte(what)); err != nil {
			t.Fatal(err)
		}
	}
	var much [2]interface{ Write([]byte) (int, error) }
	for i := range much {
		c, _ := s.dial(t)
		write(c, "m")
		receive(t, d.wrote)
		much[i] = c
	}
	little, p := s.dial(t)
	write(little, "l")
	receive(t, d.wrote)
	stranger, _ := s.dial(t)

	ready, goOn := make(chan bool), make(chan bool)
	p.conn.Post(func(Local) {
		close(ready)
		<-goOn
		d.text.Reset()
		spin = 2 * lateShare
	})
	receive(t, ready)
	write(stranger, "s")
	write(much[0], "m")
	write(much[1], "m")
	write(little, "l")
	close(goOn)
	got := ""
	for len(strings.ReplaceAll(got, ".", "")) < 4 {
		got = receive(t, d.wrote)
	}
	// One of those who wait has its turn behind the one that does not, and while
	// writes wait none; then there is nobody else.
	if want := "ls.mm."; got != want {
		t.Errorf("the loop did %q, want %q", got, want)
	}
}

// TestPostsLetOthersIn posts more than there is time for in a tick.
func TestPostsLetOthersIn(t *testing.T) {
	w := wheel.New()
	t.Cleanup(w.Close)
	g, err := NewEpoll(Options{Loops: 1, Local: newLocal}, w)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	const posts = 4 * clockEvery
	ran, at, met := 0, 0, make(chan bool)
	s := serve(t, g, "tcp", func(p *probe) {
		p.data = func(_ Local, b []byte) int {
			at = ran
			return len(b)
		}
	})
	nc, p := s.dial(t)
	if _, err := nc.Write([]byte("x")); err != nil { // a stranger would wait
		t.Fatal(err)
	}
	p.conn.Post(func(Local) {
		for range posts {
			p.conn.Post(func(Local) {
				if ran == 0 {
					_, _ = nc.Write([]byte("y"))
				}
				for end := time.Now().Add(lateShare / clockEvery * 2); time.Now().Before(end); {
				}
				if ran++; ran == posts {
					close(met)
				}
			})
		}
	})
	receive(t, met)
	if at == 0 || at == posts {
		t.Errorf("what came at the first of %d posts was read behind %d of them", posts, at)
	}
}
