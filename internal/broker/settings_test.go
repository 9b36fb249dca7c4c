package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/fantail-mqtt/fantail/internal/record"
	"github.com/fantail-mqtt/fantail/packet"
)

// listed are the settings of a space, one a line.
func listed(b *Broker, space string) string {
	var out strings.Builder
	for key, value := range b.Settings(space) {
		fmt.Fprintf(&out, "%s=%s\n", key, value)
	}
	return out.String()
}

func putSetting(t *testing.T, b *Broker, space, key, value string) {
	t.Helper()
	if err := b.PutSetting(t.Context(), space, key, []byte(value)); err != nil {
		t.Fatal(err)
	}
}

func TestSettingsAreKeptInTheirSpaces(t *testing.T) {
	b, stop := newBroker(Memory{}, nil)
	defer stop()
	putSetting(t, b, "ban", "b", "1")
	putSetting(t, b, "ban", "a", "2")
	putSetting(t, b, "ban", "b", "3")
	putSetting(t, b, "rule", "b", "4")
	putSetting(t, b, "ban", "c", "5")
	if err := errors.Join(b.DropSetting(t.Context(), "ban", "c"), b.DropSetting(t.Context(), "none", "x")); err != nil {
		t.Fatal(err)
	}
	if got, want := listed(b, "ban"), "a=2\nb=3\n"; got != want {
		t.Errorf("ban: %q, want %q", got, want)
	}
	if got, want := listed(b, "rule"), "b=4\n"; got != want {
		t.Errorf("rule: %q, want %q", got, want)
	}
	if v, ok := b.Setting("ban", "b"); string(v) != "3" || !ok {
		t.Errorf("b: %q, %v", v, ok)
	}
	if _, ok := b.Setting("ban", "c"); ok || b.SettingCount("ban") != 2 || b.SettingCount("none") != 0 {
		t.Error("c is there still")
	}
	var behind []string
	for key := range b.SettingsBehind("ban", "a") {
		behind = append(behind, key)
	}
	if !slices.Equal(behind, []string{"b"}) {
		t.Errorf("behind a: %v", behind)
	}
}

func TestASettingThatDoesNotFitIsRefused(t *testing.T) {
	b, stop := newBroker(Memory{}, nil)
	defer stop()
	for name, c := range map[string]struct{ space, key, value, err string }{
		"no space":           {"", "k", "", `"" is no space`},
		"a space with a nul": {"a\x00", "k", "", `is no space`},
		"no key":             {"s", "", "", "1 to 1024 bytes, not 0"},
		"a long key":         {"s", strings.Repeat("k", 1025), "", "1 to 1024 bytes, not 1025"},
		"a long value":       {"s", "k", strings.Repeat("v", 65537), "at most 65536 bytes, not 65537"},
	} {
		t.Run(name, func(t *testing.T) {
			err := b.PutSettings(t.Context(), c.space, map[string][]byte{c.key: []byte(c.value), "a": nil})
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("err = %v, want %q in it", err, c.err)
			}
			if b.SettingCount(c.space) > 0 {
				t.Error("something of it was kept")
			}
		})
	}
}

// A setting is in force at once, and told of as safe when it is.
func TestAPutReturnsOnceItIsSafe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := archive{&ledger{slow: true}}
		b, stop := newBroker(log, nil)
		defer stop()
		done := make(chan error, 1)
		go func() { done <- b.PutSetting(t.Context(), "s", "k", []byte("v")) }()
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("it returned before, with %v", err)
		default:
		}
		if got := listed(b, "s"); got != "k=v\n" {
			t.Errorf("meanwhile: %q", got)
		}
		log.settle()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := b.DropSetting(ctx, "s", "k"); !errors.Is(err, context.Canceled) {
			t.Errorf("err = %v", err)
		}
		log.settle()
		if got := listed(b, "s"); got != "" {
			t.Errorf("dropped: %q", got)
		}
	})
}

type sick struct{ archive }

func (sick) Failing() error { return errors.New("the disk is full") }

func TestAFailingStoreTakesNoSettings(t *testing.T) {
	b, stop := newBroker(sick{archive{&ledger{}}}, nil)
	defer stop()
	err := b.PutSetting(t.Context(), "s", "k", nil)
	if want := "keep a setting: the disk is full"; err == nil || err.Error() != want || b.SettingCount("s") > 0 {
		t.Errorf("err = %v, want %s", err, want)
	}
}

// What the records add up to is what the broker holds, and what the next process
// finds.
func TestSettingsSurvive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := live(t)
		go func() {
			_ = l.b.PutSettings(t.Context(), "s", map[string][]byte{"a": []byte("1"), "b": []byte("2")})
			_ = l.b.DropSetting(t.Context(), "s", "a")
			_ = l.b.PutSetting(t.Context(), "s", "c", []byte("3"))
		}()
		l.log.settle()
		want, err := l.log.replay()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want.Settings, l.b.Snapshot().Settings); diff != "" {
			t.Errorf("(-records +broker):\n%s", diff)
		}
		l.crash()
		defer l.stop()
		if diff := cmp.Diff(want.Settings, l.b.Snapshot().Settings); diff != "" {
			t.Errorf("(-records +after a crash):\n%s", diff)
		}
		if got := listed(l.b, "s"); got != "b=2\nc=3\n" {
			t.Errorf("%q", got)
		}
	})
}

// Several values at once are in one frame.
func TestValuesPutTogetherAreKeptTogether(t *testing.T) {
	log := &ledger{}
	b, stop := newBroker(log, nil)
	defer stop()
	before := len(log.ends)
	if err := b.PutSettings(t.Context(), "s", map[string][]byte{"a": nil, "b": nil}); err != nil {
		t.Fatal(err)
	}
	if n := len(log.ends) - before; n != 1 {
		t.Errorf("a frame could end at %d places, want 1", n)
	}
}

func TestChangesAreToldInOrder(t *testing.T) {
	b, stop := newBroker(Memory{}, nil)
	defer stop()
	putSetting(t, b, "s", "b", "1")
	putSetting(t, b, "s", "a", "2")
	putSetting(t, b, "other", "x", "3")
	var told []string
	end := b.OnSetting("s", func(key string, value []byte, gone bool) {
		told = append(told, fmt.Sprint(key, "=", string(value), " ", gone))
	})
	if want := []string{"a=2 false", "b=1 false"}; !slices.Equal(told, want) {
		t.Errorf("at first: %q, want %q", told, want)
	}
	told = nil
	putSetting(t, b, "s", "a", "4")
	putSetting(t, b, "other", "y", "5")
	for _, key := range []string{"b", "none"} {
		if err := b.DropSetting(t.Context(), "s", key); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"a=4 false", "b= true"}; !slices.Equal(told, want) {
		t.Errorf("then: %q, want %q", told, want)
	}
	end()
	putSetting(t, b, "s", "a", "6")
	if len(told) != 2 {
		t.Errorf("after the end: %q", told)
	}
}

// Whoever watches has at any time what there is, however many change it, and
// hears of a restore too.
func TestAWatcherMissesNothing(t *testing.T) {
	b, stop := newBroker(Memory{}, nil)
	defer stop()
	seen := map[string]string{}
	b.OnSetting("s", func(key string, value []byte, gone bool) { // one call at a time: the race detector looks
		if seen[key] = string(value); gone {
			delete(seen, key)
		}
	})
	if err := b.Restore(func(setting func(record.Setting) error, _ func(*record.Recovered) error, _ func(record.Retained) error) error {
		return setting(record.Setting{Place: record.Place{Space: "s", Key: "restored"}, Value: []byte("v")})
	}); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for who := range 4 {
		all.Go(func() {
			for i := range 200 {
				key := fmt.Sprint(i % 7)
				var err error
				if (i+who)%3 == 0 {
					err = b.DropSetting(context.Background(), "s", key)
				} else {
					err = b.PutSetting(context.Background(), "s", key, fmt.Append(nil, who, i))
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	want := map[string]string{}
	for key, value := range b.Settings("s") {
		want[key] = string(value)
	}
	if !maps.Equal(seen, want) || want["restored"] != "v" {
		t.Errorf("(-there +seen):\n%s", cmp.Diff(want, seen))
	}
}

func TestKickIfEndsThoseThatAreMeant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := live(t)
		defer l.stop()
		ann := l.connect("1", func(c *Connect) { c.Info.UserName = "ann" })
		bob := l.connect("2", func(c *Connect) { c.Info.UserName = "bob" })
		why := packet.Refuse(packet.NotAuthorized, "the account is gone")
		ann.link.info.UserName, bob.link.info.UserName = "ann", "bob"
		if n := l.b.KickIf(func(i *Info) bool { return i.UserName == "ann" }, why); n != 1 {
			t.Errorf("%d kicked, want 1", n)
		}
		if ann.link.kicked != why || bob.link.kicked != nil {
			t.Errorf("ann %v, bob %v", ann.link.kicked, bob.link.kicked)
		}
	})
}
