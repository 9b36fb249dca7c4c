package fantail

import (
	"time"

	"github.com/fantail-mqtt/fantail/internal/api"
	"github.com/fantail-mqtt/fantail/internal/broker"
	"github.com/fantail-mqtt/fantail/internal/metrics"
	"github.com/fantail-mqtt/fantail/internal/store"
)

var _ broker.Store = (*store.Store)(nil)

// disk is the store as the metrics show it, or nil.
func (b *Broker) disk() func() metrics.Disk {
	if b.store == nil {
		return nil
	}
	return func() metrics.Disk {
		f := b.store.Figures()
		return metrics.Disk{
			Failing: f.Failing != nil, Failures: f.Failures, Frames: f.Frames, Records: f.Records, Waiting: f.OpenBytes,
			Bytes: f.Disk, Log: f.WAL, Free: f.Free, SyncP50: f.SyncP50.Seconds(), SyncP99: f.SyncP99.Seconds(),
			Quarantined: uint64(f.Quarantined), Corruptions: f.Corruptions,
		}
	}
}

// stored is the store as the API shows it.
type stored struct{ b *Broker }

func (s stored) Checkpoint(dir string) error { return s.b.store.Checkpoint(dir) }

func (s stored) Figures() api.Figures {
	f, b := s.b.store.Figures(), s.b.broker
	messages, bytes := b.Waiting()
	retained, retainedBytes := b.RetainedCount()
	out := api.Figures{
		Directory:     s.b.config.Data,
		Disk:          api.Disk{Bytes: f.Disk, Log: f.WAL, Free: f.Free},
		Sessions:      b.Stats().Sessions.Load(),
		Subscriptions: int64(b.Subscriptions()),
		Queued:        api.Queued{Messages: int64(messages), Bytes: int64(bytes), Sessions: int64(f.Backlogs)},
		Retained:      api.Retained{Messages: int64(retained), Bytes: retainedBytes},
		Frames:        api.Frames{Committed: int64(f.Frames), Records: int64(f.Records), Open: int64(f.OpenBytes)},
		Sync:          api.Sync{P50: f.SyncP50.Seconds(), P99: f.SyncP99.Seconds(), Max: f.SyncMax.Seconds()},
		Failures:      int64(f.Failures),
		Damage: api.Damage{
			Quarantined: int64(f.Quarantined), Discarded: int64(f.Discarded), Corruptions: int64(f.Corruptions),
		},
	}
	if f.Failing == nil { // else what is read first waits for what is written
		if at := b.Oldest(); at > 0 {
			oldest := time.UnixMilli(at)
			out.Queued.Oldest = &oldest
		}
	} else {
		out.Failing = &api.Failing{Since: f.Since, Why: f.Failing.Error()}
	}
	return out
}
