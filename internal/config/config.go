// Package config holds what Fantail can be told: one plain struct that the
// YAML file, the command line and an embedding program fill in alike.
//
// A zero field means its default, so Config{} is a complete configuration and
// an embedder writes only what differs. A file is read by walking its syntax
// tree beside the struct: every key that the struct does not have, every value
// of the wrong kind and every value out of its range becomes one Mistake with
// its line, and all of them are reported together. Nothing here opens a
// listener or a certificate; a value that parses may still fail there.
package config

import "time"

// Config is everything a broker can be told before it starts.
type Config struct {
	// Node names this broker in $SYS/brokers/<node>.
	Node string `yaml:"node"`
	// Listeners are the addresses to serve. nil means the defaults; an empty
	// list that is not nil means none, for a broker used only in process.
	Listeners []Listener `yaml:"listeners"`
	// Data is the folder that belongs to this broker alone. Empty: none; the
	// command then takes ServerData, unless Durability is DurabilityMemory.
	Data string `yaml:"data"`
	// Durability says what an acknowledgement promises: DurabilityFsync, which
	// needs Data and is the default with it, or DurabilityMemory.
	Durability string `yaml:"durability"`
	Auth       Auth   `yaml:"auth"`
	Access     Access `yaml:"access"`
	Limits     Limits `yaml:"limits"`
	// Shared chooses the member of a shared subscription that gets a message.
	Shared string `yaml:"shared"`
	Log    Log    `yaml:"log"`
	// SysInterval is the time between two refreshes of $SYS/broker. Below 0:
	// never (written 0 in the file).
	SysInterval time.Duration `yaml:"sys_interval"`
	Loop        Loop          `yaml:"loop"`
	// ServerReference names another server to MQTT 5 clients that are sent
	// away [MQTT-3.2.2-19].
	ServerReference string `yaml:"server_reference"`
	// ResponseInformation is the topic prefix told to MQTT 5 clients that ask
	// where their answers may go (3.2.2.3.15).
	ResponseInformation string `yaml:"response_information"`
}

// Auth says who may connect.
type Auth struct {
	// Anonymous says from where a client without an account is let in. Empty:
	// from this machine, until there is an account or a chain, then from nowhere.
	Anonymous string `yaml:"anonymous"`
	// Users are checked for user name and password and for SCRAM-SHA-256.
	Users []User `yaml:"users"`
	// ClientIDs says who may connect with the client id of a session that a user
	// began who has proved to be one.
	ClientIDs string `yaml:"client_ids"`
	// Chain is asked in its order. Empty: Users, and the accounts and devices that
	// are managed at run time.
	Chain []Step `yaml:"chain"`
}

// Step is a link of the chain: exactly one of its fields is set.
type Step struct {
	// Users are those of Auth.
	Users *StepUsers `yaml:"users"`
	// PasswordFile checks names and passwords against a file.
	PasswordFile *StepPasswordFile `yaml:"password_file"`
	// Accounts and Devices are managed at run time.
	Accounts *StepAccounts `yaml:"accounts"`
	Devices  *StepDevices  `yaml:"devices"`
	// JWT verifies tokens.
	JWT *StepJWT `yaml:"jwt"`
	// HTTP asks a server.
	HTTP *StepHTTP `yaml:"http"`
	// SQL asks a database, LDAP a directory.
	SQL  *StepSQL  `yaml:"sql"`
	LDAP *StepLDAP `yaml:"ldap"`
	// Certificate takes the name out of the client's certificate.
	Certificate *StepCertificate `yaml:"certificate"`
}

// StepUsers has no settings.
type StepUsers struct{}

// Steps is the chain with its default filled in.
func (a *Auth) Steps() []Step {
	if len(a.Chain) == 0 {
		return []Step{{Users: &StepUsers{}}, {Accounts: &StepAccounts{}}, {Devices: &StepDevices{}}}
	}
	return a.Chain
}

// User is an account.
type User struct {
	Name     string `yaml:"name"`
	Password Secret `yaml:"password"`
}

// String names the user and hides the password from logs.
func (u User) String() string { return u.Name }

// Limits bound what one client, one message and the whole broker may cost.
type Limits struct {
	// Packet is the largest packet taken in, and what is announced as Maximum
	// Packet Size.
	Packet Size `yaml:"packet"`
	// ConnectTimeout is how long a new connection may take to send CONNECT.
	ConnectTimeout time.Duration `yaml:"connect_timeout"`
	// KeepAliveMax is announced as Server Keep Alive to clients that ask for
	// more, or for none. 0: what the client asks for.
	KeepAliveMax time.Duration `yaml:"keep_alive_max"`
	// ReceiveMaximum is how many QoS 1 and 2 messages a client may have open
	// towards the broker.
	ReceiveMaximum int `yaml:"receive_maximum"`
	// TopicAliasMaximum is how many topic aliases a client may use. Below 0:
	// none (written 0 in the file).
	TopicAliasMaximum int `yaml:"topic_alias_maximum"`
	// InFlight is how many QoS 1 and 2 messages the broker has open towards a
	// client that does not ask for fewer.
	InFlight int `yaml:"in_flight"`
	// QueueMessages and QueueBytes bound what waits for one session.
	QueueMessages int  `yaml:"queue_messages"`
	QueueBytes    Size `yaml:"queue_bytes"`
	// QueuesBytes bounds what waits for all sessions together.
	QueuesBytes Size `yaml:"queues_bytes"`
	// QueuesMemory bounds the memory of what waits in memory, for all sessions
	// together.
	QueuesMemory Size `yaml:"queues_memory"`
	// QueueQoS0 keeps messages of QoS 0, in memory, for clients that are away or
	// read slowly. They are the first to go where there is no room.
	QueueQoS0 bool `yaml:"queue_qos0"`
	// PendingBytes bounds the encoded bytes that wait for one slow client.
	PendingBytes Size `yaml:"pending_bytes"`
	// AllPendingBytes bounds them for all slow clients together.
	AllPendingBytes Size `yaml:"all_pending_bytes"`
	// TopicLevels bounds the levels of a topic name and of a topic filter.
	TopicLevels int `yaml:"topic_levels"`
	// Subscriptions bounds the subscriptions of one session, and
	// WildcardSubscriptions those of them that have a wildcard.
	Subscriptions         int `yaml:"subscriptions"`
	WildcardSubscriptions int `yaml:"wildcard_subscriptions"`
	// MatchNodes bounds the nodes of the filter trie that one publish visits.
	MatchNodes int `yaml:"match_nodes"`
	// ClientID bounds the bytes of a client id.
	ClientID int `yaml:"client_id"`
	// SessionExpiryMax caps the Session Expiry Interval. 0: no cap.
	SessionExpiryMax time.Duration `yaml:"session_expiry_max"`
	// Connections bounds the clients connected at a time. 0: no bound.
	Connections int `yaml:"connections"`
	// RetainedMessages and RetainedBytes bound what the broker retains.
	RetainedMessages int  `yaml:"retained_messages"`
	RetainedBytes    Size `yaml:"retained_bytes"`

	// ConnectPacket is the largest packet of a connection that is not let in yet.
	ConnectPacket Size `yaml:"connect_packet"`
	// Unauthenticated bounds the connections that are not let in yet.
	Unauthenticated Unauthenticated `yaml:"unauthenticated"`
	// ConnectRate is how many connections may come in a second. 0: no bound.
	ConnectRate int `yaml:"connect_rate"`
	// MessagesIn and BytesIn are how much may come from one client in a second,
	// MessagesOut and BytesOut how much is sent to it. 0: no bound.
	MessagesIn  int  `yaml:"messages_in"`
	BytesIn     Size `yaml:"bytes_in"`
	MessagesOut int  `yaml:"messages_out"`
	BytesOut    Size `yaml:"bytes_out"`
	// MaximumQoS is the highest that a client may publish at. Below 0: 0
	// (written 0 in the file).
	MaximumQoS int `yaml:"maximum_qos"`
	// NoRetain says that clients may not publish retained messages.
	NoRetain bool `yaml:"no_retain"`
	// ClientRetainedMessages and ClientRetainedBytes bound what the broker
	// retains for one client. 0: no bound.
	ClientRetainedMessages int  `yaml:"client_retained_messages"`
	ClientRetainedBytes    Size `yaml:"client_retained_bytes"`
	// MessageExpiryMax caps the Message Expiry Interval, and RetainedExpiry that
	// of retained messages. 0: no cap.
	MessageExpiryMax time.Duration `yaml:"message_expiry_max"`
	RetainedExpiry   time.Duration `yaml:"retained_expiry"`
	// PerAddress and PerUser bound all clients of an address or of a user together.
	PerAddress PerAddress `yaml:"per_address"`
	PerUser    PerUser    `yaml:"per_user"`
	// Memory is how much of it the process may have before new connections are
	// refused. 0: 80 % of what the machine or the control group has; below 0: no
	// bound.
	Memory Size `yaml:"memory"`
	// WrongPasswords is how many wrong passwords a minute are looked at for one
	// user name from one address. Below 0: all (written 0 in the file).
	WrongPasswords int `yaml:"wrong_passwords"`
	// Flapping bans clients that connect again and again.
	Flapping Flapping `yaml:"flapping"`
	// Sets are limits for single clients, by a name that authentication gives.
	Sets map[string]LimitSet `yaml:"sets"`
}

// Log says what is written to standard error, and how.
type Log struct {
	Level  string `yaml:"level"`
	Format string `yaml:"format"`
}

// Loop says what moves the bytes.
type Loop struct {
	// Transport is TransportAuto, TransportEpoll or TransportPortable.
	Transport string `yaml:"transport"`
	// Loops is the number of event loops. 0: by the number of cores.
	Loops int `yaml:"loops"`
	// Tick is the least time between two rounds of an event loop's work, up to
	// 10ms. 0: none.
	Tick time.Duration `yaml:"tick"`
}

// What Durability may be.
const (
	// DurabilityFsync promises that sessions, what is queued for them, and
	// retained messages are stored on disk before they are acknowledged.
	DurabilityFsync = "fsync"
	// DurabilityMemory promises them until the process ends.
	DurabilityMemory = "memory"
)

// ServerData is the data folder of the command that was told none.
const ServerData = "data"

// From where an anonymous client is let in.
const (
	AnonymousLoopback = "loopback"
	AnonymousAlways   = "always"
	AnonymousNever    = "never"
)

// Who may have the client id of a user's session.
const (
	ClientIDsOwn    = "own"    // that user
	ClientIDsShared = "shared" // whoever is let in
)

// How a shared subscription chooses a member.
const (
	SharedRoundRobin   = "round_robin"
	SharedRandom       = "random"
	SharedSticky       = "sticky"
	SharedHashClientID = "hash_clientid"
	SharedHashTopic    = "hash_topic"
)

// What the log may contain and look like.
const (
	LevelDebug = "debug"
	LevelInfo  = "info"
	LevelWarn  = "warn"
	LevelError = "error"

	FormatText = "text"
	FormatJSON = "json"
)

// What may move the bytes.
const (
	TransportAuto     = "auto"
	TransportEpoll    = "epoll"
	TransportPortable = "portable"
)
