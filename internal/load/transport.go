package load

import "time"

// transport carries bytes between the loop and its peers. The loop calls it
// and is told from within wait, by opened, arrived and ended of the
// generator, what has happened; so all of a run but the moving of bytes is on
// one goroutine.
type transport interface {
	// dial begins to connect p; opened or ended follows.
	dial(p *peer) error
	// send takes p's pending bytes, as many as go at once; it goes on by itself
	// when there is room. p.full says that it has not ended.
	send(p *peer)
	// wait hands over what has happened, and returns after limit at the latest.
	wait(limit time.Duration) error
	// drop closes the connection of p at once. Nothing follows.
	drop(p *peer)
	// close drops all connections.
	close() error
}

// slice is the longest wait of the loop.
const slice = time.Millisecond

// newTransport is what suits the target.
func newTransport(g *generator) (transport, error) {
	if g.target.Dial == nil {
		return newPlain(g)
	}
	return newPipes(g, g.target.Dial), nil
}
