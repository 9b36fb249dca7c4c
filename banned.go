package fantail

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/internal/ban"
	"github.com/fantail-mqtt/fantail/packet"
)

// banSpace is where bans are kept among what is managed at run time.
const banSpace = "ban"

// storing is how long whoever makes a ban waits for the disk.
const storing = 10 * time.Second

// bans is the list of bans as the API asks for it.
type bans struct{ guard *guard }

// watchBans brings those that are kept into force, and each change of them. What
// has ended is kept no longer.
func (g *guard) watchBans() {
	var ended []string
	now := time.Now()
	g.b.broker.OnSetting(banSpace, func(id string, value []byte, gone bool) { // until the broker ends
		var x ban.Ban
		err := json.Unmarshal(value, &x)
		switch {
		case gone:
			g.bans.Remove(id)
			return
		case err != nil:
			g.b.logger.Error("ban not read", slog.String("ban_id", id), slog.Any("err", err))
			return
		case x.Until != nil && x.Until.Before(now):
			ended = append(ended, id)
			return
		}
		if _, err := g.bans.Add(x, now); err != nil {
			g.b.logger.Error("ban not in force", slog.String("ban_id", id), slog.Any("err", err))
		}
	})
	for _, id := range ended {
		ctx, cancel := context.WithTimeout(context.Background(), storing)
		_ = g.b.broker.DropSetting(ctx, banSpace, id) // else with the next start
		cancel()
	}
}

// All implements api.Bans.
func (b bans) All() []ban.Ban { return b.guard.bans.All(time.Now()) }

// Add implements api.Bans: it also sends away those who are connected.
func (b bans) Add(x ban.Ban) (kept ban.Ban, disconnected int, err error) {
	g := b.guard
	if kept, err = ban.Ready(x, time.Now()); err != nil {
		return kept, 0, err
	}
	if g.bans.Len() >= ban.Most && len(g.bans.All(time.Now())) >= ban.Most { // All takes out what has ended
		return kept, 0, fmt.Errorf("there are %d bans already: lift some", ban.Most)
	}
	value, err := json.Marshal(kept)
	if err != nil {
		return kept, 0, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), storing)
	defer cancel()
	if err := g.b.broker.PutSetting(ctx, banSpace, kept.ID, value); err != nil {
		return kept, 0, err
	}
	matches, err := ban.Matcher(kept)
	if err != nil {
		return kept, 0, err
	}
	// 0x8A, banned, is for a CONNACK: a DISCONNECT has administrative action for it
	// (5.0, table 2-6).
	disconnected = g.b.broker.KickIf(func(who *access.Info) bool {
		return matches(who.ClientID, who.UserName, ipOf(who.Addr))
	}, packet.Refuse(packet.AdministrativeAction, "the client is banned"))
	g.b.logger.Info("ban added", slog.String("ban_id", kept.ID), slog.String("why", kept.Why()), slog.Int("disconnected", disconnected))
	return kept, disconnected, nil
}

// Remove implements api.Bans.
func (b bans) Remove(id string) (was bool, err error) {
	g := b.guard
	lifted, was := g.bans.Remove(id) // one made for flapping is nowhere else
	ctx, cancel := context.WithTimeout(context.Background(), storing)
	defer cancel()
	if err := g.b.broker.DropSetting(ctx, banSpace, id); err != nil {
		return was, err
	}
	if was {
		g.b.logger.Info("ban lifted", slog.String("ban_id", id), slog.String("was", lifted.Why()))
	}
	return was, nil
}
