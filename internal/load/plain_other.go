//go:build !linux

package load

import (
	"context"
	"net"
)

// newPlain is TCP where there is no epoll.
func newPlain(g *generator) (transport, error) {
	d := net.Dialer{}
	if g.target.Source.IsValid() {
		d.LocalAddr = &net.TCPAddr{IP: g.target.Source.AsSlice()}
	}
	return newPipes(g, func(ctx context.Context) (net.Conn, error) {
		return d.DialContext(ctx, "tcp", g.target.Addr.String())
	}), nil
}
