package crash

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	ours "github.com/fantail-mqtt/fantail/client"
)

var million = flag.Bool("million", false, "measure a start with a million queued messages")

const (
	millionSessions = 100
	millionEach     = 10_000
	millionSize     = 128
)

// TestMillion measures; it judges only that all messages are there.
func TestMillion(t *testing.T) {
	if !*million {
		t.Skip("a measurement: run it with -million")
	}
	s, _ := newHost(t, filepath.Join(t.TempDir(), "data"))
	s.running(t)
	var senders sync.WaitGroup
	for i := range millionSessions {
		enrol(t, s, fmt.Sprintf("m%d", i), fmt.Sprintf("million/%d", i))
	}
	began := time.Now()
	for first := range 4 {
		senders.Go(func() {
			for i := first; i < millionSessions; i += 4 {
				if err := fillSession(t.Context(), s, fmt.Sprintf("million/%d", i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	senders.Wait()
	t.Logf("%d messages of %d B queued and acknowledged in %v; resident %s",
		millionSessions*millionEach, millionSize, time.Since(began).Round(time.Millisecond), resident(t, s))
	for _, end := range []string{"kill -9", "a second kill -9"} {
		s.kill()
		began = time.Now()
		s.running(t)
		ready := time.Since(began)
		t.Logf("after %s: ready in %v, resident %s", end, ready.Round(time.Millisecond), resident(t, s))
		if queued := s.counter(t, "fantail_queue_messages"); queued != millionSessions*millionEach {
			t.Errorf("%d messages are queued", queued)
		}
	}
}

func fillSession(ctx context.Context, s *server, topic string) error {
	c, err := ours.Dial(ctx, ours.Options{URL: "mqtt://" + s.at(), CleanStart: true})
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	answers := make(chan error, millionEach)
	for n := range uint64(millionEach) {
		if err := c.Send(ctx, &ours.Message{Topic: topic, QoS: 1, Payload: parcel(n, millionSize)}, func(_ ours.Result, err error) { answers <- err }); err != nil {
			return err
		}
	}
	for range millionEach {
		err = errors.Join(err, <-answers)
	}
	return err
}

// resident is the memory of the server: now, and the part of it that is no file.
func resident(t *testing.T, s *server) string {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.pid()))
	if err != nil {
		t.Fatal(err)
	}
	var found []byte
	for line := range bytes.Lines(status) {
		if bytes.HasPrefix(line, []byte("VmRSS")) || bytes.HasPrefix(line, []byte("RssAnon")) {
			found = append(append(found, bytes.Join(bytes.Fields(line), []byte(" "))...), ' ')
		}
	}
	return string(found)
}
