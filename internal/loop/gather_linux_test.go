package loop

import (
	"bytes"
	"io"
	"slices"
	"testing"

	"github.com/fantail-mqtt/fantail/internal/wheel"
)

// pattern is n bytes that are nowhere alike.
func pattern(n, seed int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte((i*31 + i>>8*7 + seed) % 251)
	}
	return b
}

// gatherer is a connection whose peer is for the test to read.
func gatherer(t *testing.T) (peer io.Reader, c Gatherer, p *probe) {
	t.Helper()
	w := wheel.New()
	t.Cleanup(w.Close)
	g, err := NewEpoll(Options{Loops: 1, Local: newLocal}, w)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	nc, p := serve(t, g, "tcp", nil).dial(t)
	c, ok := p.conn.(Gatherer)
	if !ok {
		t.Fatal("a connection of an event loop cannot gather")
	}
	return nc, c, p
}

// Parts of any size, more of them than one system call takes and more bytes than a
// socket, come in order, also with copies written behind them; Writable comes once
// they have left, and the last bytes of Finish come after all.
func TestWhatIsGatheredComesInOrder(t *testing.T) {
	peer, c, p := gatherer(t)
	var want []byte
	var parts [][]byte
	for i := range 3*maxVec + 1 {
		part := pattern(1+i*i*40, i)
		parts, want = append(parts, part), append(want, part...)
	}
	for range 3 { // 36 MiB and more
		want = append(want, want...)
		parts = append(parts, parts...)
	}
	if flushed, kept := c.Gather(parts); flushed || !kept {
		t.Fatal("all fitted into the socket: the test has tested something else")
	}
	tail := []byte("written behind it")
	little := [][]byte{[]byte("gathered"), []byte("behind that")}
	both := slices.Clone(little)
	if flushed, kept := c.Gather([][]byte{tail}); flushed || kept {
		t.Errorf("a little behind the unsent was flushed: %v, kept: %v", flushed, kept)
	}
	if flushed, kept := c.Gather(little); flushed || kept {
		t.Errorf("a little behind the unsent was flushed: %v, kept: %v", flushed, kept)
	}
	clear(tail) // it was copied
	clear(both[0])
	clear(both[1])
	want = append(want, "written behind itgatheredbehind that"...)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(peer, got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("what came is not what was gathered")
	}
	receive(t, p.writable)
	if flushed, _ := c.Gather([][]byte{[]byte("a"), []byte("b")}); !flushed {
		t.Error("two bytes did not fit into an empty socket")
	}
	p.conn.Finish([]byte("c"), nil)
	if b, err := io.ReadAll(peer); err != nil || string(b) != "abc" {
		t.Errorf("at the end came %q, %v", b, err)
	}
}

// What is shared stays as it is: nothing is appended to memory that a connection was
// given.
func TestWhatIsGatheredIsNotWrittenTo(t *testing.T) {
	_, c, p := gatherer(t)
	memory := pattern(16<<20, 1)
	same := bytes.Clone(memory)
	if flushed, kept := c.Gather([][]byte{memory[:8<<20]}); flushed || !kept {
		t.Fatal("all fitted into the socket: the test has tested something else")
	}
	p.conn.Write([]byte("behind it"))
	if !bytes.Equal(memory, same) {
		t.Error("the memory has changed")
	}
}

func TestGatheringTakesNoMemory(t *testing.T) {
	peer, c, _ := gatherer(t)
	go func() { _, _ = io.Copy(io.Discard, peer) }() // ends with the connection
	a, b := pattern(100, 1), pattern(100, 2)
	parts := make([][]byte, 2)
	if n := testing.AllocsPerRun(100, func() {
		parts[0], parts[1] = a, b
		c.Gather(parts)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A tick that reads much ends early, so that what comes of it is written.
func TestATickThatReadsMuchEndsEarly(t *testing.T) {
	w := wheel.New()
	t.Cleanup(w.Close)
	locals := make(chan *ticks, 1)
	g, err := NewEpoll(Options{Loops: 1, Local: func() Local {
		l := &ticks{}
		locals <- l
		return l
	}}, w)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	l := <-locals
	const n = 8 * tickBytes / readSize
	var seen []int64 // how many ticks had ended, at each read while the loop is held
	held, ready, all := make(chan struct{}), make(chan struct{}), make(chan struct{})
	s := serve(t, g, "tcp", func(p *probe) {
		p.data = func(_ Local, b []byte) int {
			if len(b) == 1 { // the one that holds the loop
				close(held)
				<-ready
				return 1
			}
			if seen = append(seen, l.ends.Load()); len(seen) == n {
				close(all)
			}
			return len(b)
		}
	})
	var peers []io.Writer
	for range n + 1 {
		nc, _ := s.dial(t)
		peers = append(peers, nc)
	}
	if _, err := peers[n].Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	receive(t, held)
	for _, nc := range peers[:n] {
		if _, err := nc.Write(make([]byte, readSize)); err != nil {
			t.Fatal(err)
		}
	}
	close(ready)
	receive(t, all)
	if ended := seen[n-1] - seen[0]; ended < 2 {
		t.Errorf("%d ticks ended between %d reads of %d bytes", ended, n, readSize)
	}
}
