package broker

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fantail-mqtt/fantail/internal/record"
)

// The bounds of a setting.
const (
	MaxSettingKey   = 1 << 10  // bytes
	MaxSettingValue = 64 << 10 // bytes
)

// settings are what is managed at run time: accounts, devices, bans, rules. The
// broker keeps them, in the log and in memory, and knows nothing of what they
// mean: each space has an owner, which reads them here and is told of changes.
type settings struct {
	mu       sync.RWMutex // guards the rest; the log is appended to under it
	spaces   map[string]*space
	watchers map[string][]*watcher

	// What watchers have to be told, in order. Whoever changes something when
	// nobody tells anything tells it, and what others add meanwhile, with no
	// lock held.
	untold  []func()
	telling bool
}

// space is the settings of one purpose.
type space struct {
	values map[string]record.Setting
	keys   []string // in order; nil: to be sorted again. Never changed in place
}

type watcher struct {
	f func(key string, value []byte, gone bool)
}

// PutSetting keeps a value under a key of a space, in place of the one before,
// and returns once it is as safe as the broker's durability promises. An end of
// the context ends the waiting only.
func (b *Broker) PutSetting(ctx context.Context, space, key string, value []byte) error {
	return b.PutSettings(ctx, space, map[string][]byte{key: value})
}

// PutSettings does so with several values: all are kept, or none.
func (b *Broker) PutSettings(ctx context.Context, space string, values map[string][]byte) error {
	now := time.Now().UnixMilli()
	list := make([]record.Setting, 0, len(values))
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if err := fitting(space, key, values[key]); err != nil {
			return err
		}
		list = append(list, record.Setting{
			Place: record.Place{Space: space, Key: key}, Value: slices.Clone(values[key]), At: now,
		})
	}
	return b.change(ctx, func(s *settings) {
		for i := range list {
			b.o.Log.Append(record.AppendSettingPut(nil, list[i]), nil)
			s.put(list[i])
		}
	})
}

// DropSetting removes a key of a space, if it is there, and waits as PutSetting
// does.
func (b *Broker) DropSetting(ctx context.Context, space, key string) error {
	return b.change(ctx, func(s *settings) {
		at := record.Place{Space: space, Key: key}
		if s.drop(at) {
			b.o.Log.Append(record.AppendSettingGone(nil, at), nil)
		}
	})
}

func fitting(space, key string, value []byte) error {
	switch {
	case space == "" || strings.ContainsRune(space, 0): // it ends in U+0000 on disk
		return fmt.Errorf("keep a setting: %q is no space", space)
	case key == "" || len(key) > MaxSettingKey:
		return fmt.Errorf("keep a setting in %q: a key has 1 to %d bytes, not %d", space, MaxSettingKey, len(key))
	case len(value) > MaxSettingValue:
		return fmt.Errorf("keep the setting %q in %q: a value has at most %d bytes, not %d", key, space, MaxSettingValue, len(value))
	}
	return nil
}

// change changes settings, tells who watches them, and waits until the change is
// safe.
func (b *Broker) change(ctx context.Context, f func(s *settings)) error {
	if err := b.failing(); err != nil {
		return fmt.Errorf("keep a setting: %w", err)
	}
	safe := make(chan error, 1)
	b.o.Log.Enter()
	b.settings.mu.Lock()
	f(&b.settings)
	b.settings.mu.Unlock()
	b.o.Log.Leave()
	told := b.settings.tell()
	if b.o.Log.After(func(err error) { safe <- err }) {
		safe <- nil
	}
	for range 2 {
		select {
		case <-told:
			told = nil
		case err := <-safe:
			if err != nil {
				return fmt.Errorf("keep a setting: %w", err)
			}
			safe = nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Setting is the value of a key, which must not be changed, if it is there.
func (b *Broker) Setting(space, key string) (value []byte, ok bool) {
	s := &b.settings
	s.mu.RLock()
	defer s.mu.RUnlock()
	sp := s.spaces[space]
	if sp == nil {
		return nil, false
	}
	v, ok := sp.values[key]
	return v.Value, ok
}

// Settings are all of a space in the order of their keys. What is changed
// meanwhile may be among them or not.
func (b *Broker) Settings(space string) iter.Seq2[string, []byte] { return b.SettingsBehind(space, "") }

// SettingsBehind are those with a key behind another.
func (b *Broker) SettingsBehind(space, key string) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		keys := b.settings.sorted(space)
		from, found := slices.BinarySearch(keys, key)
		if found {
			from++
		}
		for _, key := range keys[from:] {
			if v, ok := b.Setting(space, key); ok && !yield(key, v) {
				return
			}
		}
	}
}

// SettingCount is how many a space has.
func (b *Broker) SettingCount(space string) int {
	b.settings.mu.RLock()
	defer b.settings.mu.RUnlock()
	if sp := b.settings.spaces[space]; sp != nil {
		return len(sp.values)
	}
	return 0
}

// OnSetting calls f for each setting that a space has, in the order of their
// keys, before it returns; and then for each change, in order and one after
// another, until stop is called: stop does not wait for a call under way. Who
// changes a setting waits for f, so f does not change one itself.
func (b *Broker) OnSetting(space string, f func(key string, value []byte, gone bool)) (stop func()) {
	s, w := &b.settings, &watcher{f}
	s.mu.Lock()
	if sp := s.spaces[space]; sp != nil {
		keys := sp.order()
		values := make([]record.Setting, len(keys))
		for i, key := range keys {
			values[i] = sp.values[key]
		}
		s.untold = append(s.untold, func() {
			for i := range values {
				f(values[i].Key, values[i].Value, false)
			}
		})
	}
	if s.watchers == nil {
		s.watchers = map[string][]*watcher{}
	}
	s.watchers[space] = append(slices.Clip(s.watchers[space]), w)
	s.mu.Unlock()
	<-s.tell()
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.watchers[space] = slices.DeleteFunc(slices.Clone(s.watchers[space]), func(other *watcher) bool { return other == w })
	}
}

// put takes a setting in. The caller holds s.mu, here and below.
func (s *settings) put(v record.Setting) {
	sp := s.spaces[v.Space]
	if sp == nil {
		sp = &space{values: map[string]record.Setting{}}
		if s.spaces == nil {
			s.spaces = map[string]*space{}
		}
		s.spaces[v.Space] = sp
	}
	if _, known := sp.values[v.Key]; !known {
		sp.keys = nil
	}
	sp.values[v.Key] = v
	s.changed(v, false)
}

func (s *settings) drop(at record.Place) (was bool) {
	sp := s.spaces[at.Space]
	if sp == nil {
		return false
	}
	if _, was = sp.values[at.Key]; !was {
		return false
	}
	delete(sp.values, at.Key)
	sp.keys = nil
	s.changed(record.Setting{Place: at}, true)
	return true
}

func (s *settings) changed(v record.Setting, gone bool) {
	if watchers := s.watchers[v.Space]; len(watchers) > 0 {
		s.untold = append(s.untold, func() {
			for _, w := range watchers {
				w.f(v.Key, v.Value, gone)
			}
		})
	}
}

// tell tells what was not told yet, unless somebody is doing so. The channel is
// closed when all that was changed before is told.
func (s *settings) tell() (told chan struct{}) {
	told = make(chan struct{})
	s.mu.Lock()
	s.untold = append(s.untold, func() { close(told) })
	if s.telling {
		s.mu.Unlock()
		return told
	}
	s.telling = true
	for len(s.untold) > 0 {
		list := s.untold
		s.untold = nil
		s.mu.Unlock()
		for _, f := range list {
			f()
		}
		s.mu.Lock()
	}
	s.telling = false
	s.mu.Unlock()
	return told
}

// sorted are the keys of a space in their order.
func (s *settings) sorted(name string) []string {
	s.mu.RLock()
	sp := s.spaces[name]
	if sp == nil || sp.keys != nil {
		defer s.mu.RUnlock()
		if sp == nil {
			return nil
		}
		return sp.keys
	}
	s.mu.RUnlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	return sp.order()
}

func (sp *space) order() []string {
	if sp.keys == nil {
		sp.keys = slices.Sorted(maps.Keys(sp.values))
	}
	return sp.keys
}
