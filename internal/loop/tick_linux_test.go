package loop

import (
	"testing"
	"time"

	"github.com/fantail-mqtt/fantail/internal/wheel"
)

func TestTicksAreAsFarApartAsAskedFor(t *testing.T) {
	const tick, rounds = 5 * time.Millisecond, 10
	w := wheel.New()
	t.Cleanup(w.Close)
	g, err := NewEpoll(Options{Loops: 1, Tick: tick, Local: newLocal}, w)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	c, _ := serve(t, g, "tcp", echo).dial(t)
	begun := time.Now()
	b := []byte("x")
	for range rounds {
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(b); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(begun); took < (rounds-1)*tick {
		t.Fatalf("%d rounds in %v", rounds, took)
	}
}
