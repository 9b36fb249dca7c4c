// Package interop holds the tests which show the broker with clients that we
// did not write.
//
// A scenario is a story told once, against the interface client. Adapters
// play it with every flavour: Go libraries in process; Python, JavaScript and
// C libraries by a small driver each (py/driver.py, js/driver.js, c/client.c)
// which reads commands as JSON lines on its standard input and writes what
// happens to it as JSON lines on its standard output; and mosquitto_pub and
// mosquitto_sub, whose real command lines the adapter writes. What only these
// two can do is tested in tools_test.go.
//
// No test sleeps: each waits for an event until the deadline of its scenario.
// That nothing arrives is shown by a later message which arrives first.
//
// What is specific to the broker under test is in broker_test.go alone.
package interop
