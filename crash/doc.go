// Package crash kills a broker and looks for what it promised.
//
// TestCrash starts a real server process, loads it with clients that we did not
// write, ends it with SIGKILL at a random moment, starts it again on the same data
// directory, lets the clients continue the sessions they hold, drains all queues,
// and compares. A run is some cycles of this on one data directory. docs/crash.md
// tells what is compared and how to run it.
//
// What happened is taken from the wire, not from what a library reports: each
// connection is a tap, which decodes the packets that pass it in both directions
// with a decoder of its own (wire_test.go) and tells the history (history_test.go)
// of each message sent, acknowledged, received and released. A PUBLISH is in the
// history before its first byte leaves; an acknowledgement is in the history once it
// was read. So "acknowledged before", "subscribed before" are facts of one process.
//
// The judge (judge_test.go) reads the history event by event and decides. It knows
// neither sockets nor processes nor the clock: its own tests hand it histories in
// which a message is lost, reordered or repeated, and look at the verdict.
//
// The clients hold the session of the client's side through all crashes, as they
// must: paho.mqtt.golang (3.1.1) and paho.golang (5.0) each in its memory store.
// mosquitto_pub, as a process that comes and goes, publishes through a tapped proxy.
package crash
