package listen

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fantail-mqtt/fantail/internal/config"
)

func TestAddrIsWhereItReallyListens(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for given, want := range map[string]string{"tcp://127.0.0.1:0": "tcp://127.0.0.1:", "ws://[::1]:0/broker": "ws://[::1]:", "tcp://0.0.0.0:0": "tcp://0.0.0.0:"} {
			c, err := config.ParseListener(given)
			if err != nil {
				t.Fatal(err)
			}
			l := w.open(c)
			if !strings.HasPrefix(l.Addr(), want) || strings.HasSuffix(strings.TrimSuffix(l.Addr(), "/broker"), ":0") {
				t.Errorf("%s is at %s", given, l.Addr())
			}
			_, port, err := net.SplitHostPort(l.config.Address)
			if err != nil || port == "0" {
				t.Errorf("port %q, %v", port, err)
			}
			if err := reload(l); err != nil {
				t.Error("reload without a certificate:", err)
			}
		}
	})
}

func TestWhyAnAddressCannotBeServed(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		dir := t.TempDir()
		k := w.pki()
		plain := filepath.Join(dir, "plain")
		if err := os.WriteFile(plain, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		busy := w.open(config.Listener{Scheme: "tcp"})
		busyUnix := w.open(config.Listener{Scheme: "unix", Address: filepath.Join(dir, "busy")})
		for name, c := range map[string]struct {
			listener config.Listener
			want     string
		}{
			"a port in use": {
				config.Listener{Scheme: "tcp", Address: busy.config.Address},
				busy.Addr() + ": address already in use: another broker (perhaps mosquitto) listens there: stop it, or choose another port with --listen",
			},
			"a socket in use": {
				config.Listener{Scheme: "unix", Address: busyUnix.config.Address},
				busyUnix.Addr() + ": address already in use: another broker (perhaps mosquitto) listens there: stop it, or choose another path with --listen",
			},
			"a file in the way":      {config.Listener{Scheme: "unix", Address: plain}, "no socket: remove it"},
			"no directory":           {config.Listener{Scheme: "unix", Address: filepath.Join(dir, "no", "s")}, "directory does not exist: make it"},
			"another's address":      {config.Listener{Scheme: "tcp", Address: "192.0.2.1:0"}, "does not have that address"},
			"an unknown host":        {config.Listener{Scheme: "tcp", Address: "no-such-host.invalid:0"}, `unknown host "no-such-host.invalid"`},
			"no certificate":         {config.Listener{Scheme: "tls", Cert: filepath.Join(dir, "none.pem"), Key: k.key}, "cannot be read: let this user read it, or correct cert and key"},
			"no key in its file":     {config.Listener{Scheme: "tls", Cert: k.cert, Key: plain}, "are no certificate with its key"},
			"no client CA":           {config.Listener{Scheme: "tls", Cert: k.cert, Key: k.key, ClientCA: filepath.Join(dir, "none.pem")}, "correct client_ca"},
			"no client CA in a file": {config.Listener{Scheme: "tls", Cert: k.cert, Key: k.key, ClientCA: plain}, "holds no certificate"},
		} {
			t.Run(name, func(t *testing.T) {
				if c.listener.Address == "" {
					c.listener.Address = "127.0.0.1:0"
				}
				_, err := Open(w.options, c.listener)
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("error %q, want %q", err, c.want)
				}
				if err != nil && strings.Contains(err.Error(), "\n") {
					t.Errorf("more than one line: %q", err)
				}
			})
		}
	})
}

func TestPermissionDenied(t *testing.T) {
	for _, c := range []config.Listener{{Scheme: "tcp", Address: "127.0.0.1:80"}, {Scheme: "unix", Address: "/run/s"}} {
		err := bindError(c, os.ErrPermission)
		if !strings.Contains(err.Error(), ": permission denied: ") {
			t.Error(err)
		}
	}
}

func TestAUnixSocketIsReplacedIfNobodyListens(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		path := filepath.Join(t.TempDir(), "s")
		stale, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		stale.(*net.UnixListener).SetUnlinkOnClose(false)
		_ = stale.Close()
		l := w.open(config.Listener{Scheme: "unix", Address: path})
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != socketMode {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
		_, p := w.begin(l)
		if p.peer.Addr.String() != path {
			t.Errorf("peer %v", p.peer.Addr)
		}
		l.Close()
		if _, err := os.Lstat(path); err == nil {
			t.Error("the socket is still there")
		}
	})
}
