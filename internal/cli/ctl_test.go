package cli_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fantail-mqtt/fantail"
	"github.com/fantail-mqtt/fantail/client"
	"github.com/fantail-mqtt/fantail/internal/api"
	"github.com/fantail-mqtt/fantail/internal/ban"
	"github.com/fantail-mqtt/fantail/packet"
)

// ctlEnv is what the scripts know of control sockets. There is one of a broker
// with a store, one of a broker without, one whose backups fail, one of a real
// broker with a user, one of a broker whose accounts are yet to be made, and one with rules.
func ctlEnv(t *testing.T) map[string]string {
	t.Helper()
	good := folderStore{files: map[string]string{"000004.log": strings.Repeat("records\n", 1000), "MANIFEST-000001": "m\n"}}
	bad := folderStore{}
	managed, port := managedBroker(t)
	return map[string]string{
		"CTLRULES": ruledBroker(t), "CTLOPEN": openBroker(t), "CTLMANAGED": managed, "MANAGEDPORT": port,
		"CTLDATA": openControl(t, good), "CTLBROKEN": openControl(t, bad), "CTLMEMORY": openControl(t, nil), "CTLUSERS": brokerWithUsers(t),
	}
}

// brokerWithUsers is the data directory of a broker that runs until the test ends.
func brokerWithUsers(t *testing.T) string {
	t.Helper()
	data, err := os.MkdirTemp("", "ft") //nolint:usetesting // its path is too long for a socket, perhaps
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(data) })
	run(t, fantail.Config{
		Data: data, Durability: "memory", Auth: fantail.Auth{Users: []fantail.User{{Name: "ann", Password: "pencil"}}},
		Limits: fantail.Limits{MessagesIn: 100},
	}, "tcp://127.0.0.1:0")
	return data
}

// managedBroker is the data directory and the port of a broker that runs until
// the test ends and has no accounts yet.
func managedBroker(t *testing.T) (data, port string) {
	t.Helper()
	data, err := os.MkdirTemp("", "ft") //nolint:usetesting // its path is too long for a socket, perhaps
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(data) })
	return data, strconv.Itoa(run(t, fantail.Config{Data: data, Limits: fantail.Limits{Sets: map[string]fantail.LimitSet{"large": {}}}}, "tcp://127.0.0.1:0")[0])
}

// ruledBroker is the data directory of a broker that runs until the test ends,
// with an acl_file and the client porch, which is subscribed to home/#.
func ruledBroker(t *testing.T) (data string) {
	t.Helper()
	data, err := os.MkdirTemp("", "ft") //nolint:usetesting // its path is too long for a socket, perhaps
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(data) })
	acl := filepath.Join(t.TempDir(), "acl")
	if err := os.WriteFile(acl, []byte("topic read home/#\npattern write own/%c/#\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	port := runWith(t, nil, fantail.Config{Data: data, Access: fantail.Access{ACLFile: acl}}, "tcp://127.0.0.1:0")[0]
	c, err := client.Dial(t.Context(), client.Options{URL: "mqtt://127.0.0.1:" + strconv.Itoa(port), ClientID: "porch", CleanStart: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, err := c.Subscribe(t.Context(), &packet.Subscribe{Filters: []packet.Subscription{{Filter: "home/#", QoS: 1}}}); err != nil {
		t.Fatal(err)
	}
	return data
}

// openBroker is the data directory of a broker that runs until the test ends, and
// has no rules.
func openBroker(t *testing.T) (data string) {
	t.Helper()
	data, err := os.MkdirTemp("", "ft") //nolint:usetesting // its path is too long for a socket, perhaps
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(data) })
	runWith(t, nil, fantail.Config{Data: data, Durability: "memory"}, "tcp://127.0.0.1:0")
	return data
}

// openControl serves a control socket until the test ends, and returns its data
// directory.
func openControl(t *testing.T, store api.Store) string {
	t.Helper()
	data, err := os.MkdirTemp("", "ft") //nolint:usetesting // its path is too long for a socket, perhaps
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(data) })
	c, err := api.OpenControl(api.ControlOptions{Data: data, Store: store, Bans: listedBans{ban.NewList()}, Version: "v1.2.3", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return data
}

// listedBans are bans of nobody who is connected.
type listedBans struct{ list *ban.List }

func (b listedBans) All() []ban.Ban { return b.list.All(time.Now()) }

func (b listedBans) Add(x ban.Ban) (ban.Ban, int, error) {
	kept, err := b.list.Add(x, time.Now())
	return kept, 3, err
}

func (b listedBans) Remove(id string) (bool, error) {
	_, was := b.list.Remove(id)
	return was, nil
}

// folderStore is a store whose checkpoint is these files.
type folderStore struct{ files map[string]string }

func (s folderStore) Checkpoint(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	for name, text := range s.files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (s folderStore) Figures() api.Figures {
	oldest := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	return api.Figures{
		Directory: "data/store", Disk: api.Disk{Bytes: 3 << 30, Log: 64 << 20, Free: 120 << 30}, Sessions: 100, Subscriptions: 2500,
		Queued:   api.Queued{Messages: 1_234_567, Bytes: 150_000_000, Sessions: 99, Oldest: &oldest},
		Retained: api.Retained{Messages: 10, Bytes: 1023},
		Frames:   api.Frames{Committed: 999, Records: 1_000_000}, Sync: api.Sync{P50: 0.00081, P99: 0.0123, Max: 0.25},
	}
}
