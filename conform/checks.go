package conform

import "slices"

// Checks returns every check, statement by statement and then the others.
func Checks() []Check {
	return slices.Concat(
		stringChecks(),
		framingChecks(),
		connectChecks(),
		sessionChecks(),
		willChecks(),
		publishChecks(),
		retainChecks(),
		subscribeChecks(),
		topicChecks(),
		qosChecks(),
		limitChecks(),
		authChecks(),
		disconnectChecks(),
		webSocketChecks(),
		sharedChecks(),
		peerChecks(),
		mqtt31Checks(),
	)
}
