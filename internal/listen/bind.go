package listen

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"

	"github.com/fantail-mqtt/fantail/internal/config"
)

// socketMode lets the owner and the group of a unix socket connect.
const socketMode = 0o660

func bind(c config.Listener) (net.Listener, error) {
	if c.Scheme == config.SchemeUnix {
		return bindUnix(c)
	}
	var lc net.ListenConfig
	// The runtime listens for multipath TCP by default, whose sockets cost more
	// memory and time for each connection, used or not.
	lc.SetMultipathTCP(false)
	ln, err := lc.Listen(context.Background(), "tcp", c.Address)
	if err != nil {
		return nil, bindError(c, err)
	}
	return ln, nil
}

func bindUnix(c config.Listener) (net.Listener, error) {
	if err := removeStale(c); err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(context.Background(), "unix", c.Address)
	if err != nil {
		return nil, bindError(c, err)
	}
	if err := os.Chmod(c.Address, socketMode); err != nil {
		_ = ln.Close()
		return nil, fmt.Errorf("%s: set the socket's permissions: %w", c.URL(), err)
	}
	return ln, nil
}

// removeStale removes the socket that a killed process left, on which nobody
// listens.
func removeStale(c config.Listener) error {
	info, err := os.Lstat(c.Address)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return bindError(c, err)
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return fmt.Errorf("%s: there is a file that is no socket: remove it, or choose another path", c.URL())
	}
	var d net.Dialer
	nc, err := d.DialContext(context.Background(), "unix", c.Address)
	if err == nil {
		_ = nc.Close()
		return bindError(c, syscall.EADDRINUSE)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return bindError(c, err)
	}
	if err := os.Remove(c.Address); err != nil {
		return bindError(c, err)
	}
	return nil
}

// bindError says in one sentence why an address cannot be served, and what to
// do about it.
func bindError(c config.Listener, err error) error {
	var dns *net.DNSError
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		choose := "choose another port with --listen"
		if c.Scheme == config.SchemeUnix {
			choose = "choose another path with --listen"
		}
		return fmt.Errorf("%s: %w: another broker (perhaps mosquitto) listens there: stop it, or %s", c.URL(), syscall.EADDRINUSE, choose)
	case errors.Is(err, fs.ErrPermission) && c.Scheme == config.SchemeUnix:
		return fmt.Errorf("%s: permission denied: let this user write to the socket's directory, or choose another path (%w)", c.URL(), errno(err))
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s: permission denied: ports below 1024 need the capability CAP_NET_BIND_SERVICE, or choose a higher port (%w)", c.URL(), errno(err))
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%s: this machine does not have that address: use one of its own, or 0.0.0.0 for all (%w)", c.URL(), errno(err))
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s: the socket's directory does not exist: make it, or choose another path (%w)", c.URL(), errno(err))
	case errors.As(err, &dns):
		return fmt.Errorf("%s: unknown host %q: write an address of this machine, or 0.0.0.0 for all (%w)", c.URL(), dns.Name, err)
	}
	return fmt.Errorf("%s: cannot listen there: %w", c.URL(), err)
}

// errno is the system's own word, without the address around it again.
func errno(err error) error {
	if no, ok := errors.AsType[syscall.Errno](err); ok {
		return no
	}
	return err
}

// realAddress is the configured host with the port that was bound.
func realAddress(c config.Listener, bound net.Addr) string {
	tcp, ok := bound.(*net.TCPAddr)
	if !ok {
		return c.Address
	}
	host, _, err := net.SplitHostPort(c.Address)
	if err != nil {
		return bound.String()
	}
	return net.JoinHostPort(host, fmt.Sprint(tcp.Port))
}
