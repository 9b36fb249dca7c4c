package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/net/proxy"
)

// setProxy makes p reach the broker through a SOCKS5 proxy (RFC 1928), which
// looks its name up: this machine may know neither.
func (l *link) setProxy(p *plan, direct *net.Dialer) error {
	if l.unix != "" || strings.HasPrefix(p.options.URL, "unix:") {
		return misuse("--proxy leads to hosts: it does not go with a unix socket")
	}
	address, account, err := parseProxy(l.proxy)
	if err != nil {
		return err
	}
	hop := &firstHop{dialer: direct}
	via, err := proxy.SOCKS5("tcp", address, account, hop)
	if err != nil {
		return misuse("--proxy: %v", err)
	}
	dialer, ok := via.(proxy.ContextDialer)
	if !ok {
		return misuse("--proxy: it cannot be interrupted")
	}
	p.options.NetDial = func(ctx context.Context, network, broker string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, broker)
		if err != nil {
			return nil, newProxyError(address, err)
		}
		return conn, nil
	}
	return nil
}

// parseProxy reads socks5h://[user:password@]host[:port]. Its errors do not
// repeat what may be a password.
func parseProxy(text string) (address string, account *proxy.Auth, err error) {
	const form = "socks5h://[user:password@]host[:port]"
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return "", nil, misuse("--proxy: this is no address of a proxy; write %s", form)
	case u.Scheme != "socks5h":
		return "", nil, misuse("--proxy: the scheme %q is not socks5h; write %s", u.Scheme, form)
	}
	port := u.Port()
	if port == "" {
		port = "1080"
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65_535 {
		return "", nil, misuse("--proxy: the port %s is not from 1 to 65535", port)
	}
	if u.User != nil {
		password, _ := u.User.Password()
		account = &proxy.Auth{User: u.User.Username(), Password: password}
		if n, m := len(account.User), len(account.Password); n == 0 || n > 255 || m == 0 || m > 255 { // RFC 1929
			return "", nil, misuse("--proxy: the user name and the password have 1 to 255 bytes each; write %s", form)
		}
	}
	return net.JoinHostPort(u.Hostname(), port), account, nil
}

// firstHop dials the proxy, and says so where that fails.
type firstHop struct{ dialer *net.Dialer }

func (h *firstHop) Dial(network, address string) (net.Conn, error) {
	return h.DialContext(context.Background(), network, address)
}

func (h *firstHop) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := h.dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, &unreached{err}
	}
	return conn, nil
}

// unreached is why the proxy itself cannot be reached.
type unreached struct{ err error }

func (u *unreached) Error() string { return u.err.Error() }
func (u *unreached) Unwrap() error { return u.err }

// proxyError is why the broker cannot be reached through a proxy.
type proxyError struct {
	proxy string
	err   error
}

func newProxyError(proxy string, err error) *proxyError {
	if op, ok := errors.AsType[*net.OpError](err); ok { // what was tried, we say better
		err = op.Err
	}
	return &proxyError{proxy: proxy, err: err}
}

func (e *proxyError) Unwrap() error { return e.err }

func (e *proxyError) Error() string {
	why := strings.TrimPrefix(e.err.Error(), "unknown error ") // as the library has a reply that it does know
	switch _, first := errors.AsType[*unreached](e.err); {
	case first && errors.Is(e.err, syscall.ECONNREFUSED):
		return fmt.Sprintf("nothing listens at the proxy's address %s", e.proxy)
	case first:
		return fmt.Sprintf("the proxy %s cannot be reached: %s", e.proxy, why)
	case strings.Contains(why, "authentication"):
		return fmt.Sprintf("the proxy %s lets nobody in so: %s (check the account in --proxy socks5h://user:password@host)", e.proxy, why)
	case errors.Is(e.err, io.EOF), strings.Contains(why, "protocol version"):
		return fmt.Sprintf("what listens at %s speaks no SOCKS5: %s", e.proxy, why)
	default:
		return fmt.Sprintf("the proxy %s says: %s", e.proxy, why)
	}
}
