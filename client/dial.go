package client

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"strings"
)

// target is where an [Options.URL] leads.
type target struct {
	network string // tcp or unix
	address string
	host    string // for the server's certificate
	secure  bool
	url     string // of a WebSocket, else empty
	user    *url.Userinfo
}

func parseURL(text string) (target, error) {
	if !strings.Contains(text, "://") {
		text = "mqtt://" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		return target{}, fmt.Errorf("server address: %w", err)
	}
	t := target{network: "tcp", host: u.Hostname(), user: u.User}
	port := ""
	switch u.Scheme {
	case "mqtt", "tcp":
		port = "1883"
	case "mqtts", "tls", "ssl":
		port, t.secure = "8883", true
	case "ws":
		port, t.url = "80", text
	case "wss":
		port, t.url, t.secure = "443", text, true
	case "unix":
		if u.Host != "" || u.Path == "" {
			return target{}, fmt.Errorf("server address %q: write unix:///path/of/the.sock", text)
		}
		return target{network: "unix", address: u.Path, user: u.User}, nil
	default:
		return target{}, fmt.Errorf("server address %q: scheme %q is none of mqtt, mqtts, ws, wss, unix", text, u.Scheme)
	}
	if t.host == "" {
		return target{}, fmt.Errorf("server address %q has no host", text)
	}
	if u.Port() != "" {
		port = u.Port()
	}
	t.address = net.JoinHostPort(t.host, port)
	if t.url != "" {
		if u.Path == "" {
			u.Path = "/mqtt"
		}
		u.User = nil // they go into the CONNECT
		t.url = u.String()
	}
	return t, nil
}

// dial opens the connection and what lies above it: TLS, WebSocket.
func (t *target) dial(ctx context.Context, o *Options) (net.Conn, error) {
	open := o.NetDial
	if open == nil {
		open = new(net.Dialer).DialContext
	}
	conn, err := open(ctx, t.network, t.address)
	if err != nil {
		return nil, err
	}
	over, err := t.dialOver(ctx, conn, o)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return over, nil
}

func (t *target) dialOver(ctx context.Context, conn net.Conn, o *Options) (net.Conn, error) {
	if t.secure {
		config := &tls.Config{}
		if o.TLS != nil {
			config = o.TLS.Clone()
		}
		if config.ServerName == "" {
			config.ServerName = t.host
		}
		secured := tls.Client(conn, config)
		if err := secured.HandshakeContext(ctx); err != nil {
			return nil, fmt.Errorf("TLS: %w", err)
		}
		conn = secured
	}
	if t.url == "" {
		return conn, nil
	}
	return upgrade(ctx, conn, t.url)
}
