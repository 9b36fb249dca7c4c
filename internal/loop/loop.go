// Package loop moves the bytes of connections.
//
// On Linux a few event loops share all sockets: each waits for what is ready,
// reads it into one buffer of its own, hands it to the connection's [Handler],
// and at the end of such a tick lets its [Local] write once to every connection
// that was touched. A connection owns no goroutine and, while idle, no buffer.
//
// Elsewhere, and for streams without a descriptor of their own, the portable
// transport does the same with goroutines. Both are a [Group]; whoever sits
// above cannot tell them apart.
package loop

import (
	"errors"
	"net"
	"time"
)

// Handler is the upper side of a connection. Its methods are called one at a
// time, on the connection's loop; none may wait for anything.
type Handler interface {
	// Data takes in bytes and says how many it is done with. The rest is
	// given again, with more behind it. It may not keep b.
	Data(l Local, b []byte) (n int)
	// Writable says that all bytes given to Write have left, after a Write
	// that returned false.
	Writable(l Local)
	// Closed is the last call: the connection is gone, err says why (io.EOF:
	// the peer closed it).
	Closed(l Local, err error)
}

// Conn is the lower side of a connection.
type Conn interface {
	// Write takes all of b and returns whether it has left for the kernel. If
	// not, what is over was copied, and Handler.Writable comes once it left;
	// more written before then waits behind it. Any goroutine may call it.
	Write(b []byte) (flushed bool)
	// Finish writes b behind what is waiting, ends the stream with a FIN, and
	// closes once the peer has done so too or after a moment. The handler gets
	// no more data; Closed comes with err. Any goroutine may call it.
	Finish(b []byte, err error)
	// Close drops the connection at once; Closed comes with err. Any goroutine
	// may call it.
	Close(err error)
	// Post runs f on the connection's loop, unless Closed came before. Any
	// goroutine may call it.
	Post(f func(Local))
	// Pause stops the calls of Data until Resume; both on the loop only.
	Pause()
	Resume(l Local)
	// SetHandler replaces the handler, on the loop only.
	SetHandler(h Handler)
	RemoteAddr() net.Addr
}

// Gatherer is a Conn that sends pieces of memory as they are.
type Gatherer interface {
	// Gather is Write of all parts, one behind the other. If they were kept, what is
	// over stays where it is, and may not change until Handler.Writable comes; a
	// little is copied. It may change parts itself, but does not keep that. None of
	// the parts is empty.
	Gather(parts [][]byte) (flushed, kept bool)
}

// Descripted is a connection that has a descriptor. The kernel gives the lowest
// one that is free, so it says how many are in use at least.
type Descripted interface {
	// Descriptor is -1 where it is not known.
	Descriptor() int
}

// Local is what a loop carries along from connection to connection. Its methods
// are called on the loop's goroutine.
type Local interface {
	// Effort grows with what the calls of handlers cost: by one for each message
	// that was delivered to a client, and so on.
	Effort() int
	// End is called when a tick's last handler has returned.
	End()
	// EndSome is End that may leave some of what only messages for many have caused,
	// and leaves all of it if that is to be held. It says whether it did.
	EndSome(hold bool) (more bool)
	// Calm is called when a loop has had nothing to do for a while.
	Calm()
}

// Acceptor makes the handler of a new connection, on its loop.
type Acceptor func(l Local, c Conn) Handler

// Group is a set of loops, or the portable transport.
type Group interface {
	// Serve accepts connections from ln until Close or the returned stop.
	// It takes ln over.
	Serve(ln net.Listener, accept Acceptor) (stop func(), err error)
	// Adopt serves one established stream by the portable transport.
	Adopt(nc net.Conn, accept Acceptor)
	// Close drops all connections and waits for the group's goroutines.
	Close()
}

// Options of a group.
type Options struct {
	// Loops is how many there are, and how many ticks of the portable transport at
	// once; 0: one for each processor.
	Loops int
	// Tick is the least time from the beginning of a loop's tick to that of the
	// next: what comes meanwhile is taken in together. 0: none. The portable
	// transport has no ticks.
	Tick    time.Duration
	Local   func() Local
	OnError func(err error) // an accept failed; may be nil
}

// Lingering is how long a finished connection waits for the peer's end.
const Lingering = 2 * time.Second

// ErrGroupClosed is the reason of connections that end with their group.
var ErrGroupClosed = errors.New("the server is closing")
