package loop

import (
	"testing"

	"github.com/fantail-mqtt/fantail/internal/wheel"
)

// restless tells when it is calm.
type restless struct{ calm chan struct{} }

func (restless) End()              {}
func (restless) Effort() int       { return 0 }
func (restless) EndSome(bool) bool { return false }
func (r restless) Calm()           { r.calm <- struct{}{} }

func TestALoopWithNothingToDoSaysSoOnce(t *testing.T) {
	w := wheel.New()
	t.Cleanup(w.Close)
	l := restless{make(chan struct{}, 100)}
	g, err := NewEpoll(Options{Loops: 1, Local: func() Local { return l }}, w)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	c, _ := serve(t, g, "tcp", echo).dial(t)
	receive(t, l.calm) // after the connect
	b := []byte("x")
	for range 3 {
		if n := len(l.calm); n > 0 {
			t.Fatalf("it said so %d times more", n)
		}
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(b); err != nil {
			t.Fatal(err)
		}
		receive(t, l.calm)
	}
}
