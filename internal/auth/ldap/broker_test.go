//go:build linux

package ldap_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/fantail-mqtt/fantail"
	"github.com/fantail-mqtt/fantail/client"
	"github.com/fantail-mqtt/fantail/packet"
)

func TestBroker(t *testing.T) {
	l, err := fantail.ParseListener("tcp://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b, err := fantail.New(fantail.Config{
		Listeners: []fantail.Listener{l}, SysInterval: -1, Auth: fantail.Auth{Chain: []fantail.Step{{LDAP: &fantail.StepLDAP{
			URL: "ldaps://" + slapd.tls, CA: slapd.ca, Base: "ou=people,dc=example,dc=org", Filter: "(uid=${username})",
			BindDN: "cn=service,dc=example,dc=org", BindPassword: secret, Timeout: time.Second, Rest: 10 * time.Millisecond,
		}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	b.UseLogger(slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }() // ends with stop
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-b.Ready():
	case err := <-done:
		t.Fatal(err)
	}
	dial := func(user, password string) packet.Code {
		t.Helper()
		c, err := client.Dial(t.Context(), client.Options{
			URL: b.Addresses()[0], ClientID: "c " + user, CleanStart: true, HasUserName: true, UserName: user, Password: []byte(password),
		})
		if refusal, refused := errors.AsType[*packet.Refusal](err); refused {
			return refusal.Code
		}
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
		return packet.Success
	}
	for _, c := range []struct {
		user, password string
		want           packet.Code
	}{
		{"ann", "pencil", packet.Success},
		{strange, "pencil", packet.Success},
		{"ann", "pencils", packet.BadUserNameOrPassword},
		{"ann", "", packet.BadUserNameOrPassword},
		{"eve", "pencil", packet.BadUserNameOrPassword},
		{"*", "pencil", packet.BadUserNameOrPassword},
	} {
		if code := dial(c.user, c.password); code != c.want {
			t.Errorf("%s: %v, want %v", c.user, code, c.want)
		}
	}
	slapd.Stop()
	for range 6 {
		if code := dial("ann", "pencil"); code != packet.ServerUnavailable {
			t.Errorf("without the directory: %v", code)
		}
	}
	if err := slapd.Again(); err != nil {
		t.Fatal(err)
	}
	until := time.Now().Add(10 * time.Second)
	for dial("ann", "pencil") != packet.Success {
		if time.Now().After(until) {
			t.Fatal("the directory is back, and nobody comes in")
		}
	}
}
