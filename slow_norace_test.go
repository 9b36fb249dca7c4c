//go:build !race

package fantail_test

// crowd is how many clients a crowd is.
const crowd = 1000
