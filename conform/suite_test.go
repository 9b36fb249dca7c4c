package conform

import (
	"context"
	"errors"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestVarintIsShortest(t *testing.T) {
	for n, want := range map[int]string{
		0: "\x00", 127: "\x7f", 128: "\x80\x01", 16383: "\xff\x7f", 16384: "\x80\x80\x01",
		2097151: "\xff\xff\x7f", 2097152: "\x80\x80\x80\x01", 268435455: "\xff\xff\xff\x7f",
	} {
		if got := string(varint(n)); got != want {
			t.Errorf("varint(%d) = % X, want % X", n, got, want)
		}
		got, used, err := readVarint([]byte(want))
		if got != n || used != len(want) || err != nil {
			t.Errorf("readVarint(% X) = %d, %d, %v", want, got, used, err)
		}
	}
	for name, in := range map[string]string{"longer than needed": "\x80\x00", "five bytes": "\x80\x80\x80\x80\x01"} {
		if _, _, err := readVarint([]byte(in)); err == nil || errors.Is(err, errShort) {
			t.Errorf("%s: err = %v, want a refusal", name, err)
		}
	}
}

func TestConnectBytes(t *testing.T) {
	user, password := "u", "p"
	c := connect{
		name: "MQTT", level: 5, clean: true, keepAlive: 10, props: prop32(pSessionExpiry, 1), id: "id",
		will: &will{topic: "w", payload: "x", qos: 1, retain: true}, user: &user, password: &password,
	}
	want := "\x10\x21\x00\x04MQTT\x05\xee\x00\x0a\x05\x11\x00\x00\x00\x01\x00\x02id\x00\x00\x01w\x00\x01x\x00\x01u\x00\x01p"
	if got := string(c.bytes()); got != want {
		t.Errorf("got  % X\nwant % X", got, want)
	}
}

func TestParseRefusesWhatAServerMayNotSend(t *testing.T) {
	cases := map[string]struct {
		level byte
		bytes string
	}{
		"session present with a refusal":        {4, "\x20\x02\x01\x05"},
		"return code of 5.0 in 3.1.1":           {4, "\x20\x02\x00\x87"},
		"reserved acknowledge flag":             {5, "\x20\x03\x02\x00\x00"},
		"CONNACK without property length":       {5, "\x20\x02\x00\x00"},
		"repeated property":                     {5, "\x20\x09\x00\x00\x06\x21\x00\x05\x21\x00\x05"},
		"property of another packet":            {5, "\x20\x05\x00\x00\x02\x01\x01"},
		"session expiry in DISCONNECT":          {5, "\xe0\x07\x8e\x05\x11\x00\x00\x00\x01"},
		"DISCONNECT in 3.1.1":                   {4, "\xe0\x00"},
		"AUTH in 3.1.1":                         {4, "\xf0\x00"},
		"QoS 3":                                 {4, "\x36\x05\x00\x01a\x00\x01"},
		"QoS 0 with DUP":                        {4, "\x38\x03\x00\x01a"},
		"identifier 0":                          {4, "\x32\x05\x00\x01a\x00\x00"},
		"wildcard in the topic":                 {4, "\x30\x03\x00\x01#"},
		"ill-formed topic":                      {4, "\x30\x03\x00\x01\xff"},
		"empty topic without alias":             {5, "\x30\x03\x00\x00\x00"},
		"flags of SUBACK":                       {4, "\x91\x03\x00\x01\x00"},
		"unlisted code in SUBACK":               {4, "\x90\x03\x00\x01\x03"},
		"SUBACK without codes":                  {4, "\x90\x02\x00\x01"},
		"PUBREL with flags 0":                   {4, "\x60\x02\x00\x01"},
		"bytes behind PUBACK":                   {4, "\x40\x03\x00\x01\x00"},
		"unlisted code in PUBACK":               {5, "\x40\x03\x00\x01\x92"},
		"a packet of the client":                {4, "\xc0\x00"},
		"body of PINGRESP":                      {4, "\xd0\x01\x00"},
		"subscription identifier 0":             {5, "\x30\x06\x00\x01a\x02\x0b\x00"},
		"alias twice":                           {5, "\x30\x0a\x00\x01a\x06\x23\x00\x01\x23\x00\x01"},
		"property longer than its list":         {5, "\x30\x07\x00\x01a\x02\x23\x00\x01"},
		"unlisted code in AUTH":                 {5, "\xf0\x02\x19\x00"},
		"Subscription Identifier in DISCONNECT": {5, "\xe0\x04\x8e\x02\x0b\x01"},
	}
	for name, c := range cases {
		first, body, size, err := split([]byte(c.bytes))
		if err != nil || size != len(c.bytes) {
			t.Fatalf("%s: the case itself is wrong: %d of %d bytes, %v", name, size, len(c.bytes), err)
		}
		if p, err := parse(c.level, first, body, []byte(c.bytes)); err == nil {
			t.Errorf("%s: accepted as %v", name, p)
		}
	}
}

func TestParseReadsPublish(t *testing.T) {
	in := publish{topic: "a/b", payload: "x", qos: 2, retain: true, dup: true, id: 7, props: join(propPair("k", "v"), propSubscription(300))}
	first, body, _, err := split(in.bytes(5))
	if err != nil {
		t.Fatal(err)
	}
	p, err := parse(5, first, body, nil)
	if err != nil {
		t.Fatal(err)
	}
	if p.topic != "a/b" || p.payload != "x" || p.qos() != 2 || !p.retain() || !p.dup() || p.id != 7 ||
		p.pairs()[0] != "k=v" || p.subscriptions()[0] != 300 {
		t.Errorf("got %v", p)
	}
}

// The example of RFC 7677, section 3.
func TestScramExample(t *testing.T) {
	s := &scram{user: "user", password: "pencil", nonce: "rOprNGfwEbeRWgbNEkqO"}
	got, err := s.final("r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")
	if err != nil {
		t.Fatal(err)
	}
	if want := "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="; got != want {
		t.Errorf("final = %s\nwant    %s", got, want)
	}
	if !s.proven("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=") {
		t.Error("the proof of the server is not recognised")
	}
	if s.proven("v=AAAATRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=") {
		t.Error("a wrong proof of the server is accepted")
	}
}

// No check passes with a broker that never answers.
func TestSilentBrokerPassesNothing(t *testing.T) {
	addr := fakeBroker(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	results := runAgainst(t, addr)
	for _, r := range results {
		if r.Outcome == Pass {
			t.Errorf("%s passes: %s", r.Name(), r.What)
		}
	}
}

// A broker that closes every connection passes only checks of refusals.
func TestClosingBrokerPassesRefusalsOnly(t *testing.T) {
	addr := fakeBroker(t, func(net.Conn) {})
	refusal := regexp.MustCompile("(?i)close|refuse|not accepted|ends the connection|no larger than")
	for _, r := range runAgainst(t, addr) {
		if r.Outcome == Pass && !refusal.MatchString(r.What) {
			t.Errorf("%s passes: %s", r.Name(), r.What)
		}
	}
}

func runAgainst(t *testing.T, addr string) []Result {
	t.Helper()
	o := Options{Addr: addr, Wait: 20 * time.Millisecond, Quiet: 10 * time.Millisecond, Parallel: 64}
	results, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return results
}

// fakeBroker serves each connection with a function and then closes it.
func fakeBroker(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	var listen net.ListenConfig
	l, err := listen.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	context.AfterFunc(t.Context(), func() { _ = l.Close() })
	go func() { // ends when the listener closes with the test
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c)
			}()
		}
	}()
	return l.Addr().String()
}

func TestReportNamesEveryStatement(t *testing.T) {
	lines, _, err := plan()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := WriteMarkdown(&b, lines); err != nil {
		t.Fatal(err)
	}
	for _, r := range lines {
		if !strings.Contains(b.String(), "| "+r.ID+" |") {
			t.Errorf("the report does not name %s", r.Name())
		}
	}
}
