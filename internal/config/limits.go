package config

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Unauthenticated bounds the connections that are not let in yet: they have not
// sent CONNECT, or it is not decided about. A further one takes the place of the
// oldest. Below 0: no bound (written 0 in the file).
type Unauthenticated struct {
	Connections int `yaml:"connections"`
	PerAddress  int `yaml:"per_address"`
}

// PerAddress bounds what comes from one address (IPv6: from one network of 64
// bits). 0: no bound.
type PerAddress struct {
	Connections int `yaml:"connections"`
	ConnectRate int `yaml:"connect_rate"`
}

// PerUser bounds all clients of one user name together. 0: no bound.
type PerUser struct {
	Connections int  `yaml:"connections"`
	MessagesIn  int  `yaml:"messages_in"`
	BytesIn     Size `yaml:"bytes_in"`
}

// Flapping says when a client connects too often, and for how long it is then
// banned.
type Flapping struct {
	Enabled  bool          `yaml:"enabled"`
	Connects int           `yaml:"connects"` // more than these
	Window   time.Duration `yaml:"window"`   // in so much time
	Ban      time.Duration `yaml:"ban"`
}

// LimitSet are limits that hold for some clients in place of those of the same
// name in Limits. 0: the limit of Limits stays; below 0: none (written 0 in the
// file).
type LimitSet struct {
	Packet                 Size          `yaml:"packet"`
	KeepAliveMax           time.Duration `yaml:"keep_alive_max"`
	ReceiveMaximum         int           `yaml:"receive_maximum"`
	TopicAliasMaximum      int           `yaml:"topic_alias_maximum"`
	InFlight               int           `yaml:"in_flight"`
	QueueMessages          int           `yaml:"queue_messages"`
	QueueBytes             Size          `yaml:"queue_bytes"`
	Subscriptions          int           `yaml:"subscriptions"`
	WildcardSubscriptions  int           `yaml:"wildcard_subscriptions"`
	SessionExpiryMax       time.Duration `yaml:"session_expiry_max"`
	MessageExpiryMax       time.Duration `yaml:"message_expiry_max"`
	RetainedExpiry         time.Duration `yaml:"retained_expiry"`
	MessagesIn             int           `yaml:"messages_in"`
	BytesIn                Size          `yaml:"bytes_in"`
	MessagesOut            int           `yaml:"messages_out"`
	BytesOut               Size          `yaml:"bytes_out"`
	MaximumQoS             int           `yaml:"maximum_qos"`
	NoRetain               bool          `yaml:"no_retain"`
	ClientRetainedMessages int           `yaml:"client_retained_messages"`
	ClientRetainedBytes    Size          `yaml:"client_retained_bytes"`
}

// With are the limits of a client that a set is for.
func (l Limits) With(set LimitSet) Limits {
	mine := fieldsOf(&l)
	eachField(reflect.ValueOf(set), func(key string, field reflect.Value) {
		if field.IsZero() {
			return
		}
		into := reflect.ValueOf(mine[key]).Elem()
		into.Set(field)
		ownNone := key == "topic_alias_maximum" || key == "maximum_qos" // whose 0 is their default
		if field.CanInt() && field.Int() < 0 && !ownNone {
			into.SetInt(0)
		}
	})
	l.Sets = nil
	return l
}

// sets checks each set as the limits that it makes.
func (k *check) sets(l *Limits) {
	for _, name := range slices.Sorted(maps.Keys(l.Sets)) {
		set, at := l.Sets[name], "limits.sets."+name+"."
		if name == "" {
			k.add("limits.sets", "a set needs a name")
		}
		var all check
		merged := l.With(set)
		all.limits(at, &merged)
		eachField(reflect.ValueOf(set), func(key string, field reflect.Value) {
			for _, m := range all.mistakes {
				if !field.IsZero() && strings.TrimPrefix(m.Key, at) == key {
					k.mistakes = append(k.mistakes, m)
				}
			}
		})
	}
}

// rates checks what goes by the second, and who is counted.
func (k *check) rates(at string, l *Limits) {
	between(k, at+"connect_packet", l.ConnectPacket, 64, 256*MiB)
	atLeast(k, at+"unauthenticated.connections", l.Unauthenticated.Connections, -1)
	atLeast(k, at+"unauthenticated.per_address", l.Unauthenticated.PerAddress, -1)
	for key, value := range map[string]int64{
		"connect_rate": int64(l.ConnectRate), "messages_in": int64(l.MessagesIn), "bytes_in": int64(l.BytesIn),
		"messages_out": int64(l.MessagesOut), "bytes_out": int64(l.BytesOut),
		"client_retained_messages": int64(l.ClientRetainedMessages), "client_retained_bytes": int64(l.ClientRetainedBytes),
		"per_address.connections": int64(l.PerAddress.Connections), "per_address.connect_rate": int64(l.PerAddress.ConnectRate),
		"per_user.connections": int64(l.PerUser.Connections), "per_user.messages_in": int64(l.PerUser.MessagesIn),
		"per_user.bytes_in": int64(l.PerUser.BytesIn),
	} {
		atLeast(k, at+key, value, 0)
	}
	between(k, at+"maximum_qos", l.MaximumQoS, -1, 2)
	k.seconds(at+"message_expiry_max", l.MessageExpiryMax, 0xFFFF_FFFF)
	k.seconds(at+"retained_expiry", l.RetainedExpiry, 0xFFFF_FFFF)
	atLeast(k, at+"memory", l.Memory, -1)
	atLeast(k, at+"wrong_passwords", l.WrongPasswords, -1)
	atLeast(k, at+"flapping.connects", l.Flapping.Connects, 1)
	between(k, at+"flapping.window", l.Flapping.Window, time.Second, time.Hour)
	atLeast(k, at+"flapping.ban", l.Flapping.Ban, time.Second)
}
