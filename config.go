package fantail

import (
	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/internal/config"
)

// Config is everything a broker can be told before it starts. Its zero value
// is a complete configuration; the YAML file of the command has the same keys.
type Config = config.Config

// Auth says who may connect.
type Auth = config.Auth

// User is an account.
type User = config.User

// Step is a link of the chain of authentication: exactly one of its fields is
// set.
type Step = config.Step

// StepUsers checks clients against the users of Auth.
type StepUsers = config.StepUsers

// StepPasswordFile checks clients against a file of mosquitto_passwd's.
type StepPasswordFile = config.StepPasswordFile

// StepAccounts lets in accounts that are managed at run time.
type StepAccounts = config.StepAccounts

// StepDevices lets in devices that are managed at run time.
type StepDevices = config.StepDevices

// StepJWT lets in clients that show a JSON Web Token.
type StepJWT = config.StepJWT

// StepHTTP asks a server about clients.
type StepHTTP = config.StepHTTP

// StepSQL looks clients up in a database.
type StepSQL = config.StepSQL

// StepLDAP asks a directory about clients.
type StepLDAP = config.StepLDAP

// StepCertificate lets clients in by their certificates.
type StepCertificate = config.StepCertificate

// Secret is a text that is never shown, however it is printed or encoded.
type Secret = config.Secret

// Access says who may do what.
type Access = config.Access

// AccessRule is a rule, and where it stands.
type AccessRule = config.AccessRule

// Statement is a rule as it is written.
type Statement = access.Statement

// Limits bound what one client, one message and the whole broker may cost.
type Limits = config.Limits

// LimitSet are limits of some clients.
type LimitSet = config.LimitSet

// Unauthenticated bounds connections that are not let in yet.
type Unauthenticated = config.Unauthenticated

// PerAddress bounds what comes from one address.
type PerAddress = config.PerAddress

// PerUser bounds all clients of one user name together.
type PerUser = config.PerUser

// Flapping says when a client connects too often.
type Flapping = config.Flapping

// Listener is one address to serve.
type Listener = config.Listener

// Loop says what moves the bytes.
type Loop = config.Loop

// Size is a number of bytes.
type Size = config.Size

// ParseListener reads a listener from a URL such as tcp://127.0.0.1:1883 or
// tls://0.0.0.0:8883?cert=server.pem&key=server.key.
func ParseListener(text string) (Listener, error) { return config.ParseListener(text) }

// LoadConfig reads a YAML file. Its error names every mistake with its line.
func LoadConfig(path string) (*Config, error) { return config.Load(path) }

// NoListeners is for a broker that is used only from within the program.
func NoListeners() []Listener { return []Listener{} }
