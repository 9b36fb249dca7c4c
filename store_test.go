package fantail_test

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fantail-mqtt/fantail"
	"github.com/fantail-mqtt/fantail/packet"
)

// control asks the control socket of a data folder.
func control(t *testing.T, data, method, path string) []byte {
	t.Helper()
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(data, "fantail.sock"))
		},
	}}
	r, err := http.NewRequestWithContext(t.Context(), method, "http://fantail"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s, %v: %s", method, path, answer.Status, err, body)
	}
	return body
}

func TestFiguresOfTheStore(t *testing.T) {
	c := fantail.Config{Data: t.TempDir()}
	s := serve(t, onDisk, c, nil)
	before := time.Now()
	s.device(t, "a", lasting).to("t", 1).bye(packet.Disconnect{})
	pub := s.device(t, "pub", nil)
	pub.say("t", "one")
	pub.say("t", "two")
	pub.keep("kept", "x")
	var f struct {
		Sessions int64
		Queued   struct {
			Messages, Sessions int64
			Oldest             time.Time
		}
		Retained struct{ Messages int64 }
		Frames   struct{ Committed int64 }
		Sync     struct{ P50 float64 }
	}
	if err := json.Unmarshal(control(t, c.Data, http.MethodGet, "/api/v1/store"), &f); err != nil {
		t.Fatal(err)
	}
	if f.Sessions != 2 || f.Queued.Messages != 2 || f.Queued.Sessions != 1 || f.Retained.Messages != 1 || f.Frames.Committed < 3 || f.Sync.P50 <= 0 {
		t.Errorf("%+v", f)
	}
	if at := f.Queued.Oldest; at.Before(before.Truncate(time.Millisecond)) || at.After(time.Now()) {
		t.Errorf("the oldest came at %v, want after %v", at, before)
	}
	if n := s.figure(t, "store_frames_total"); int64(n) < f.Frames.Committed {
		t.Errorf("the metrics have %v frames, the API has %d", n, f.Frames.Committed)
	}
	if n := s.figure(t, "store_failing"); n != 0 {
		t.Errorf("failing: %v", n)
	}
	backup := tar.NewReader(strings.NewReader(string(control(t, c.Data, http.MethodPost, "/api/v1/backup"))))
	files := 0
	for {
		h, err := backup.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(h.Name, "store/") {
			files++
		}
	}
	if files < 3 {
		t.Errorf("the backup has %d files of the store", files)
	}
}

func TestABoundOnAllQueuesTogether(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		s := serve(t, transport, fantail.Config{Limits: fantail.Limits{QueuesBytes: 2000}}, nil)
		s.device(t, "a", lasting).to("a", 1).bye(packet.Disconnect{})
		s.device(t, "b", lasting).to("b", 1).bye(packet.Disconnect{})
		pub := s.device(t, "pub", nil)
		text := strings.Repeat("x", 1000)
		if code := pub.say("a", text); code != packet.Success {
			t.Errorf("PUBACK: %v", code)
		}
		if code := pub.say("b", text); code != packet.Success {
			t.Errorf("PUBACK: %v", code)
		}
		if code := pub.say("b", "one too many"); code != packet.QuotaExceeded {
			t.Errorf("PUBACK: %v, want quota exceeded", code)
		}
		s.reaches(t, `messages_dropped_total{reason="queue_full"}`, 1)
		a, _ := s.connect(t, "a", lasting)
		a.take()
		eventually(t, func() bool { return pub.say("b", "room again") == packet.Success }, func() any { return nil })
	})
}
