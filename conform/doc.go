// Package conform holds the normative statements of MQTT 3.1.1 and 5.0 and a
// check for each one that binds a server.
//
// Every check opens connections of its own to a broker, sends bytes and looks
// at the bytes that come back. The encoder and the decoder here are written
// by hand and share nothing with the broker's own codec, so that a mistake in
// one is not repeated in the other. The decoder is strict: a packet from the
// broker that breaks the standard fails whichever check received it.
//
// Checks run side by side with client identifiers and topics of their own.
// Waiting is always a read with a deadline: either for something that must
// come, or for a short time in which nothing may come.
package conform
