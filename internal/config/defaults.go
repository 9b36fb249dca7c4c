package config

import (
	"cmp"
	"time"
)

// Defaults is the configuration of a broker that was told nothing; what
// durability it has hangs from whether it has a data folder.
func Defaults() Config {
	return Config{
		Node: "fantail",
		Listeners: []Listener{
			{Scheme: SchemeTCP, Address: "0.0.0.0:1883"},
			{Scheme: SchemeHTTP, Address: "127.0.0.1:18083"},
		},
		Auth:        Auth{ClientIDs: ClientIDsOwn},
		Access:      Access{DenyAction: DenyIgnore},
		Limits:      defaultLimits(),
		Shared:      SharedRoundRobin,
		Log:         Log{Level: LevelInfo, Format: FormatText},
		SysInterval: 10 * time.Second,
		Loop:        Loop{Transport: TransportAuto},
	}
}

// durability is the default: with a folder to keep it in, state is kept.
func (c *Config) durability() string {
	if c.Data == "" {
		return DurabilityMemory
	}
	return DurabilityFsync
}

func defaultLimits() Limits {
	return Limits{
		Packet:                1 * MiB,
		ConnectTimeout:        10 * time.Second,
		ReceiveMaximum:        100,
		TopicAliasMaximum:     64,
		InFlight:              32,
		QueueMessages:         100_000,
		QueueBytes:            64 * MiB,
		QueuesBytes:           16 * GiB,
		QueuesMemory:          1 * GiB,
		PendingBytes:          4 * MiB,
		AllPendingBytes:       256 * MiB,
		ClientID:              1024,
		TopicLevels:           128,
		Subscriptions:         10_000,
		WildcardSubscriptions: 1_000,
		MatchNodes:            2_000,
		RetainedMessages:      1_000_000,
		RetainedBytes:         1 * GiB,
		ConnectPacket:         64 * KiB,
		Unauthenticated:       Unauthenticated{Connections: 10_000, PerAddress: 2_000},
		MaximumQoS:            2,
		WrongPasswords:        30,
		Flapping:              Flapping{Connects: 15, Window: time.Minute, Ban: 5 * time.Minute},
	}
}

// WithDefaults returns c with the default in each field that is zero. It may
// be called on its own result and on what Load returned.
func (c Config) WithDefaults() Config {
	d := Defaults()
	c.Node = cmp.Or(c.Node, d.Node)
	if c.Listeners == nil {
		c.Listeners = d.Listeners
	}
	c.Listeners = listenersWithDefaults(c.Listeners)
	c.Durability = cmp.Or(c.Durability, c.durability())
	c.Auth.ClientIDs = cmp.Or(c.Auth.ClientIDs, d.Auth.ClientIDs)
	c.Access.DenyAction = cmp.Or(c.Access.DenyAction, d.Access.DenyAction)
	c.Limits = c.Limits.withDefaults()
	c.Shared = cmp.Or(c.Shared, d.Shared)
	c.Log.Level = cmp.Or(c.Log.Level, d.Log.Level)
	c.Log.Format = cmp.Or(c.Log.Format, d.Log.Format)
	c.SysInterval = cmp.Or(c.SysInterval, d.SysInterval)
	c.Loop.Transport = cmp.Or(c.Loop.Transport, d.Loop.Transport)
	return c
}

func (l Limits) withDefaults() Limits {
	d := defaultLimits()
	l.Packet = cmp.Or(l.Packet, d.Packet)
	l.ConnectTimeout = cmp.Or(l.ConnectTimeout, d.ConnectTimeout)
	l.ReceiveMaximum = cmp.Or(l.ReceiveMaximum, d.ReceiveMaximum)
	l.TopicAliasMaximum = cmp.Or(l.TopicAliasMaximum, d.TopicAliasMaximum)
	l.InFlight = cmp.Or(l.InFlight, d.InFlight)
	l.QueueMessages = cmp.Or(l.QueueMessages, d.QueueMessages)
	l.QueueBytes = cmp.Or(l.QueueBytes, d.QueueBytes)
	l.QueuesBytes = cmp.Or(l.QueuesBytes, d.QueuesBytes)
	l.QueuesMemory = cmp.Or(l.QueuesMemory, d.QueuesMemory)
	l.PendingBytes = cmp.Or(l.PendingBytes, d.PendingBytes)
	l.AllPendingBytes = cmp.Or(l.AllPendingBytes, d.AllPendingBytes)
	l.ClientID = cmp.Or(l.ClientID, d.ClientID)
	l.TopicLevels = cmp.Or(l.TopicLevels, d.TopicLevels)
	l.Subscriptions = cmp.Or(l.Subscriptions, d.Subscriptions)
	l.WildcardSubscriptions = cmp.Or(l.WildcardSubscriptions, d.WildcardSubscriptions)
	l.MatchNodes = cmp.Or(l.MatchNodes, d.MatchNodes)
	l.RetainedMessages = cmp.Or(l.RetainedMessages, d.RetainedMessages)
	l.RetainedBytes = cmp.Or(l.RetainedBytes, d.RetainedBytes)
	l.ConnectPacket = cmp.Or(l.ConnectPacket, d.ConnectPacket)
	l.Unauthenticated.Connections = cmp.Or(l.Unauthenticated.Connections, d.Unauthenticated.Connections)
	l.Unauthenticated.PerAddress = cmp.Or(l.Unauthenticated.PerAddress, d.Unauthenticated.PerAddress)
	l.MaximumQoS = cmp.Or(l.MaximumQoS, d.MaximumQoS)
	l.WrongPasswords = cmp.Or(l.WrongPasswords, d.WrongPasswords)
	l.Flapping.Connects = cmp.Or(l.Flapping.Connects, d.Flapping.Connects)
	l.Flapping.Window = cmp.Or(l.Flapping.Window, d.Flapping.Window)
	l.Flapping.Ban = cmp.Or(l.Flapping.Ban, d.Flapping.Ban)
	return l
}
