package conform

import "testing"

// startBroker starts the broker that TestConform checks and says how.
func startBroker(t *testing.T) Options {
	t.Helper()
	t.Skip("no broker in process yet: set CONFORM_ADDR to the host:port of a running one")
	return Options{}
}
