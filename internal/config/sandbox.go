package config

import "time"

// Sandbox is the configuration of a public test broker that strangers may use:
// whoever likes is let in, little of everything is allowed, everything expires,
// and nothing is kept on disk.
func Sandbox() Config {
	c := Defaults()
	c.Durability = DurabilityMemory
	c.Auth.Anonymous = AnonymousAlways
	l := &c.Limits
	l.Connections = 10_000
	l.ConnectRate = 500
	l.Packet, l.ConnectPacket = 64*KiB, 16*KiB
	l.Unauthenticated = Unauthenticated{Connections: 2_000, PerAddress: 50}
	l.PerAddress = PerAddress{Connections: 50, ConnectRate: 10}
	l.KeepAliveMax = 5 * time.Minute
	l.SessionExpiryMax, l.MessageExpiryMax, l.RetainedExpiry = time.Hour, time.Hour, time.Hour
	l.ReceiveMaximum, l.TopicAliasMaximum, l.InFlight = 16, 8, 16
	l.MessagesIn, l.BytesIn = 20, 64*KiB
	l.MessagesOut, l.BytesOut = 200, 256*KiB
	l.QueueMessages, l.QueueBytes, l.QueuesBytes, l.QueuesMemory = 100, 256*KiB, 128*MiB, 64*MiB
	l.PendingBytes, l.AllPendingBytes = 64*KiB, 64*MiB
	l.TopicLevels, l.Subscriptions, l.WildcardSubscriptions, l.MatchNodes = 16, 20, 5, 1_000
	l.RetainedMessages, l.RetainedBytes = 10_000, 64*MiB
	l.ClientRetainedMessages, l.ClientRetainedBytes = 10, 64*KiB
	l.Flapping.Enabled, l.Flapping.Connects = true, 30
	return c
}
