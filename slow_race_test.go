//go:build race

package fantail_test

// crowd is how many clients a crowd is; under the race detector each costs ten
// times as much.
const crowd = 200
