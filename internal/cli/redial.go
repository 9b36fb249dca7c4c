package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/fantail-mqtt/fantail/packet"
)

// redial calls open until it succeeds, with pauses that grow, and says so. It
// gives up where the broker has said what will not pass: that another client
// has the id, or that nobody is let in.
func redial(ctx context.Context, e *env, p *plan, err error, open func() error) error {
	for pause := time.Second; ; pause = min(2*pause, 30*time.Second) {
		if code, refused := refusal(err); refused && !passes(code) {
			return err
		}
		e.say("%s; connecting again in %v", lost(err), pause)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
		if err = open(); err == nil {
			e.say("connected again to %s", p.address)
			return nil
		}
	}
}

// lost says how a connection went.
func lost(err error) string {
	if _, refused := refusal(err); refused {
		return fmt.Sprintf("the broker ended the connection: %s", brief(err))
	}
	return fmt.Sprintf("connection lost: %v", err)
}

// passes says whether a refusal may be gone in a while.
func passes(code packet.Code) bool {
	switch code {
	case packet.ServerUnavailable, packet.ServerBusy, packet.ServerShuttingDown, packet.KeepAliveTimeout,
		packet.QuotaExceeded, packet.ConnectionRateExceeded, packet.MessageRateTooHigh, packet.UnspecifiedError,
		packet.ReceiveMaximumExceeded, packet.MaximumConnectTime:
		return true
	default:
		return false
	}
}
