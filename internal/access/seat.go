package access

import "context"

type seatKey struct{}

// WithSeats is a context for whoever works while it holds a seat: those who do
// have each sent something into seats, which has room for as many as may work
// at a time.
func WithSeats(ctx context.Context, seats chan struct{}) context.Context {
	return context.WithValue(ctx, seatKey{}, seats)
}

// Rise gives up the seat of a context, if there is one, for as long as its
// holder only waits, for the answer of a server: others can work meanwhile.
// Sit takes one again.
func Rise(ctx context.Context) (sit func()) {
	seats, ok := ctx.Value(seatKey{}).(chan struct{})
	if !ok {
		return func() {}
	}
	<-seats
	return func() { seats <- struct{}{} }
}
