package fantail

import (
	"log/slog"
	"time"

	"github.com/fantail-mqtt/fantail/internal/ban"
)

// bans is the list of bans as the API asks for it.
type bans struct{ guard *guard }

// All implements api.Bans.
func (b bans) All() []ban.Ban { return b.guard.bans.All(time.Now()) }

// Add implements api.Bans.
func (b bans) Add(x ban.Ban) (kept ban.Ban, disconnected int, err error) { return b.guard.add(x) }

// Remove implements api.Bans.
func (b bans) Remove(id string) bool {
	lifted, ok := b.guard.bans.Remove(id)
	if ok {
		b.guard.b.logger.Info("ban lifted", slog.String("ban_id", id), slog.String("was", lifted.Why()))
	}
	return ok
}
