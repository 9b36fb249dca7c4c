package fantail

import "github.com/fantail-mqtt/fantail/internal/config"

// Config is everything a broker can be told before it starts. Its zero value
// is a complete configuration; the YAML file of the command has the same keys.
type Config = config.Config

// The parts of a [Config].
type (
	Auth     = config.Auth
	User     = config.User
	Limits   = config.Limits
	Listener = config.Listener
	LogTo    = config.Log
	Loop     = config.Loop
	Size     = config.Size
)

// ParseListener reads a listener from a URL such as tcp://127.0.0.1:1883 or
// tls://0.0.0.0:8883?cert=server.pem&key=server.key.
func ParseListener(text string) (Listener, error) { return config.ParseListener(text) }

// LoadConfig reads a YAML file. Its error names every mistake with its line.
func LoadConfig(path string) (*Config, error) { return config.Load(path) }

// NoListeners is for a broker that is used only from within the program.
func NoListeners() []Listener { return []Listener{} }
