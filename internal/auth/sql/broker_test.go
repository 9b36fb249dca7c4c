//go:build linux

package sql_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fantail-mqtt/fantail"
	"github.com/fantail-mqtt/fantail/client"
	"github.com/fantail-mqtt/fantail/packet"
)

// log is what a broker has said.
type log struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// line is the last that holds all words.
func (l *log) line(words ...string) (found string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.text.String()) {
		has := true
		for _, word := range words {
			has = has && strings.Contains(line, word)
		}
		if has {
			found = line
		}
	}
	return found
}

// serve runs a broker whose clients are in the database.
func serve(t *testing.T, step fantail.StepSQL) (url string, said *log) {
	t.Helper()
	l, err := fantail.ParseListener("tcp://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b, err := fantail.New(fantail.Config{
		Listeners: []fantail.Listener{l}, SysInterval: -1, Auth: fantail.Auth{Chain: []fantail.Step{{SQL: &step}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	said = &log{}
	b.UseLogger(slog.New(slog.NewTextHandler(said, nil)))
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
	return b.Addresses()[0], said
}

// dial connects, and says how the broker answers.
func dial(t *testing.T, url, user, password string) (*client.Client, packet.Code) {
	t.Helper()
	c, err := client.Dial(t.Context(), client.Options{
		URL: url, ClientID: "c-" + user, CleanStart: true, HasUserName: true, UserName: user, Password: []byte(password),
	})
	if refusal, refused := errors.AsType[*packet.Refusal](err); refused {
		return nil, refusal.Code
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c, packet.Success
}

func TestBroker(t *testing.T) {
	each(t, func(t *testing.T, b *backend) {
		url, said := serve(t, fantail.StepSQL{
			Driver: b.driver, DSN: b.dsn, Query: query, Hash: "plain", Timeout: time.Second, Rest: 10 * time.Millisecond,
			ACLQuery: "SELECT permission, action, topic, qos, retain FROM acl WHERE username = ${username}",
		})
		for _, c := range []struct {
			user, password string
			want           packet.Code
			why            string
		}{
			{"ann", "pencil", packet.Success, ""},
			{strange, "pencil", packet.Success, ""},
			{"ann", "pencils", packet.BadUserNameOrPassword, "the password is wrong"},
			{"eve", "pencil", packet.BadUserNameOrPassword, "nobody knows the user name"},
			{"' OR '1'='1", "pencil", packet.BadUserNameOrPassword, "nobody knows the user name"},
		} {
			_, code := dial(t, url, c.user, c.password)
			if code != c.want {
				t.Errorf("%s: %v, want %v", c.user, code, c.want)
			}
			if c.why != "" && said.line("connection refused", c.why) == "" {
				t.Errorf("%s: the log does not say %q: %s", c.user, c.why, said.line("connection refused"))
			}
		}
		ann, _ := dial(t, url, "ann", "pencil")
		if _, err := ann.Publish(t.Context(), &client.Message{Topic: "a/secret", QoS: 1}); err == nil {
			t.Error("ann may publish what her rules deny")
		}
		if _, err := ann.Publish(t.Context(), &client.Message{Topic: "c/c-ann/x", QoS: 1}); err != nil {
			t.Errorf("ann may not publish what her rules allow: %v", err)
		}
		b.Stop()
		for range 6 {
			if _, code := dial(t, url, "ann", "pencil"); code != packet.ServerUnavailable {
				t.Errorf("without the database: %v", code)
			}
		}
		if said.line("connection refused", "the database does not answer", "step=auth.sql", "do=") == "" {
			t.Errorf("the log does not say that the database is away: %s", said.line("connection refused"))
		}
		if err := b.Again(); err != nil {
			t.Fatal(err)
		}
		until := time.Now().Add(10 * time.Second)
		for {
			if _, code := dial(t, url, "ann", "pencil"); code == packet.Success {
				break
			}
			if time.Now().After(until) {
				t.Fatalf("the database is back, and nobody comes in: %s", said.line("refused"))
			}
		}
		if line := said.line(secret); line != "" {
			t.Errorf("the log has the password of the database: %s", line)
		}
	})
}
