package cli

import (
	"fmt"
	"io"
	"time"

	"github.com/fantail-mqtt/fantail/internal/config"
)

// printSandbox says what a sandbox lets strangers do.
func printSandbox(w io.Writer, c *config.Config) {
	l := &c.Limits
	line := func(format string, args ...any) { fmt.Fprintf(w, "sandbox: "+format+"\n", args...) }
	line("clients without an account are let in from: %s", c.Auth.Anonymous)
	line("state: %s", durabilityOf(c))
	line("connections: %d, of one address %d; they may come at %d a second, from one address at %d; not let in yet: %d, of one address %d",
		l.Connections, l.PerAddress.Connections, l.ConnectRate, l.PerAddress.ConnectRate, l.Unauthenticated.Connections, l.Unauthenticated.PerAddress)
	line("packets up to %v; a client may send %d messages and %v a second, and gets %d and %v",
		l.Packet, l.MessagesIn, l.BytesIn, l.MessagesOut, l.BytesOut)
	line("a session has up to %d subscriptions, %d of them with wildcards, topics up to %d levels, and a queue of %d messages and %v",
		l.Subscriptions, l.WildcardSubscriptions, l.TopicLevels, l.QueueMessages, l.QueueBytes)
	line("retained: %d messages and %v, for one client %d and %v", l.RetainedMessages, l.RetainedBytes, l.ClientRetainedMessages, l.ClientRetainedBytes)
	line("everything expires: sessions after %s, messages after %s, retained ones after %s",
		lifetime(l.SessionExpiryMax), lifetime(l.MessageExpiryMax), lifetime(l.RetainedExpiry))
	if l.Flapping.Enabled {
		line("who connects more than %d times in %v is banned for %v", l.Flapping.Connects, l.Flapping.Window, l.Flapping.Ban)
	}
}

func durabilityOf(c *config.Config) string {
	if c.Durability == config.DurabilityMemory {
		return "in memory, gone with the server"
	}
	return "on disk, in " + c.Data
}

func lifetime(d time.Duration) string {
	if d == 0 {
		return "no time"
	}
	return d.String()
}
