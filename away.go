package fantail

import (
	"log/slog"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/packet"
)

// sendAway ends the connections that a reload has left without what let them in:
// whose certificate is on a revocation list by now, whose account is gone, or has
// another password. Those of everybody else are not touched.
func (b *Broker) sendAway() {
	type fault struct{ client, why string }
	var revoked []fault
	b.broker.KickIf(func(i *access.Info) bool {
		if i.Voucher == nil {
			return false
		}
		why := i.Voucher.Fault()
		if why != "" {
			revoked = append(revoked, fault{i.ClientID, why})
		}
		return why != ""
	}, packet.Refuse(packet.NotAuthorized, "the certificate is revoked"))
	for _, f := range revoked {
		b.logger.Info("client sent away", slog.String("client", f.client), slog.String("why", f.why), slog.String("do", "give the client a new certificate"))
	}
	if b.authenticator != nil {
		return // grants are the program's own
	}
	n := b.broker.KickIf(func(i *access.Info) bool { return !i.Grant.Holds() },
		packet.Refuse(packet.NotAuthorized, "the account has changed"))
	if n > 0 {
		b.logger.Info("clients sent away since their account is gone, or has another password", slog.Int("clients", n))
	}
}
