package auth

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/xdg-go/scram"

	"github.com/fantail-mqtt/fantail/packet"
)

func begin(t testing.TB, u *users) *Exchange {
	t.Helper()
	x, err := u.scram.Begin(SCRAMSHA256)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// converse lets a client of xdg-go talk to the exchange until either ends it.
// It returns what the server said.
func converse(x *Exchange, client *scram.Client) (said []string, err error) {
	c := client.NewConversation()
	var reply []byte
	for done := false; ; {
		data, err := c.Step(string(reply))
		if err != nil {
			return said, fmt.Errorf("client: %w", err)
		}
		if done {
			if !c.Valid() {
				return said, errors.New("the client does not trust the server")
			}
			return said, nil
		}
		if reply, done, err = x.Step([]byte(data)); err != nil {
			return said, err
		}
		said = append(said, string(reply))
	}
}

func newClient(t *testing.T, name, password, authzID string) *scram.Client {
	t.Helper()
	c, err := scram.SHA256.NewClient(name, password, authzID)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAClientTalksToTheServer(t *testing.T) {
	u := newUsers(t, User{"ann", "pencil"}, User{"a=b,c", "p,=w"}, User{"ro\u00adse", "\u2168"}, User{"key", "\U0001F511"})
	unprepared, err := scram.SHA256.NewClientUnprepped("key", "\U0001F511", "")
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		client *scram.Client
		name   string // "": refused
	}{
		"the right password":               {newClient(t, "ann", "pencil", ""), "ann"},
		"acting as oneself":                {newClient(t, "ann", "pencil", "ann"), "ann"},
		"signs that SCRAM escapes":         {newClient(t, "a=b,c", "p,=w", ""), "a=b,c"},
		"a name that SASLprep shortens":    {newClient(t, "rose", "IX", ""), "ro\u00adse"},
		"a password that SASLprep refuses": {unprepared, "key"},
		"a wrong password":                 {newClient(t, "ann", "pencils", ""), ""},
		"an unknown user":                  {newClient(t, "eve", "pencil", ""), ""},
		"acting as another":                {newClient(t, "ann", "pencil", "key"), ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			x := begin(t, u)
			said, err := converse(x, c.client)
			if x.UserName() != c.name {
				t.Errorf("user name %q, want %q", x.UserName(), c.name)
			}
			if c.name == "" {
				wantRefusal(t, err, packet.NotAuthorized)
				return
			}
			if err != nil || len(said) != 2 || !strings.HasPrefix(said[1], "v=") {
				t.Errorf("said %q, err = %v, want a challenge and v=…", said, err)
			}
		})
	}
}

func wantRefusal(t *testing.T, err error, code packet.Code) {
	t.Helper()
	var r *packet.Refusal
	if !errors.As(err, &r) || r.Code != code {
		t.Fatalf("err = %v, want a refusal: %s", err, code)
	}
}

// rfc7677 are users of which the one is that of the example in RFC 7677,
// section 3, with its salt and its server nonce.
func rfc7677(t testing.TB) *users {
	t.Helper()
	const salt = "\x5b\x6d\x99\x68\x9d\x12\x35\x8e\xec\xa0\x4b\x14\x12\x36\xfa\x81"
	u := newUsers(t)
	verifier, err := derive("pencil", salt, iterations)
	if err != nil {
		t.Fatal(err)
	}
	k := map[string]*known{"user": {name: "user", verifier: verifier}}
	u.table.Store(&table{byName: k, prepared: k})
	u.scram.nonce = func() string { return "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0" }
	return u
}

const (
	rfcFirst  = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
	rfcServer = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
	rfcFinal  = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
	rfcEnd    = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
)

func TestTheExampleOfRFC7677(t *testing.T) {
	u := rfc7677(t)
	x := begin(t, u)
	reply, done, err := x.Step([]byte(rfcFirst))
	if string(reply) != rfcServer || done || err != nil {
		t.Fatalf("%q, %v, %v, want %q", reply, done, err, rfcServer)
	}
	if x.UserName() != "" {
		t.Errorf("user name %q before the proof", x.UserName())
	}
	reply, done, err = x.Step([]byte(rfcFinal))
	if string(reply) != rfcEnd || !done || err != nil {
		t.Fatalf("%q, %v, %v, want %q, done", reply, done, err, rfcEnd)
	}
	if x.UserName() != "user" {
		t.Errorf("user name %q, want user", x.UserName())
	}
	if _, done, err = x.Step([]byte(rfcFinal)); done {
		t.Error("done twice")
	}
	wantRefusal(t, err, packet.NotAuthorized)
	if _, ok := u.fits("user", []byte("pencil")); !ok {
		t.Error("the password is refused in the clear")
	}
}

func TestStepRefuses(t *testing.T) {
	cases := map[string][]string{
		"no data":                           {""},
		"channel binding":                   {"p=tls-exporter,,n=user,r=abc"},
		"a binding of an unknown type":      {"p=x,,n=user,r=abc"},
		"a mandatory extension":             {"n,,m=x,n=user,r=abc"},
		"a name with a bare =":              {"n,,n=us=er,r=abc"},
		"no nonce":                          {"n,,n=user"},
		"acting as another":                 {"n,a=root,n=user,r=abc"},
		"a message longer than any":         {"n,,n=user,r=" + strings.Repeat("a", maxStep)},
		"the last message first":            {rfcFinal},
		"the first message twice":           {rfcFirst, rfcFirst},
		"a proof of other length":           {rfcFirst, strings.Replace(rfcFinal, "dHzb", "", 1)},
		"a proof with a bit turned":         {rfcFirst, strings.Replace(rfcFinal, "dHzb", "dHzc", 1)},
		"another nonce":                     {rfcFirst, strings.Replace(rfcFinal, "%hv", "%hw", 1)},
		"a header that was not sent":        {rfcFirst, strings.Replace(rfcFinal, "biws", "eSws", 1)},
		"the right proof after a mistake":   {"", rfcFirst},
		"the right proof after a bad proof": {rfcFirst, "c=biws,r=x,p=eA==", rfcFinal},
	}
	for name, steps := range cases {
		t.Run(name, func(t *testing.T) {
			x := begin(t, rfc7677(t))
			for i, data := range steps {
				reply, done, err := x.Step([]byte(data))
				if done {
					t.Fatalf("step %d is the end: %q", i, reply)
				}
				if i == 0 && data == rfcFirst {
					continue
				}
				wantRefusal(t, err, packet.NotAuthorized)
				if reply != nil {
					t.Errorf("step %d: answer %q with a refusal", i, reply)
				}
			}
			if x.UserName() != "" {
				t.Errorf("user name %q", x.UserName())
			}
		})
	}
}

func TestBeginRefusesOtherMethods(t *testing.T) {
	u := newUsers(t)
	for _, method := range []string{"", "PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256-PLUS", "scram-sha-256"} {
		x, err := u.scram.Begin(method)
		if x != nil {
			t.Errorf("%q: begun", method)
		}
		wantRefusal(t, err, packet.BadAuthenticationMethod)
	}
}

// What the server says to an unknown user differs from what it says to a
// known one with a wrong password by nothing that the client can tell.
func TestAnUnknownUserLooksLikeAWrongPassword(t *testing.T) {
	u := newUsers(t, User{"ann", "pencil"})
	talk := func(name string) (salt, rest string, err error) {
		said, err := converse(begin(t, u), newClient(t, name, "wrong", ""))
		if err == nil || len(said) != 1 {
			t.Fatalf("%s: said %q, err = %v", name, said, err)
		}
		f := strings.Split(said[0], ",")
		if len(f) != 3 {
			t.Fatalf("%s: said %q", name, said)
		}
		return f[1], fmt.Sprint(len(f[0]), len(f[1]), f[2]), err
	}
	knownSalt, known, knownErr := talk("ann")
	unknownSalt, unknown, unknownErr := talk("eve")
	if known != unknown {
		t.Errorf("challenges have the shapes %s and %s", known, unknown)
	}
	if diff := cmp.Diff(knownErr, unknownErr); diff != "" {
		t.Errorf("refusals differ: %s", diff)
	}
	if again, _, _ := talk("ann"); again != knownSalt {
		t.Errorf("salt of a known user %s, then %s", knownSalt, again)
	}
	if again, _, _ := talk("eve"); again != unknownSalt {
		t.Errorf("salt of an unknown user %s, then %s", unknownSalt, again)
	}
	if other, _, _ := talk("mallory"); other == unknownSalt || other == knownSalt {
		t.Errorf("another unknown user has the same salt %s", other)
	}
	if _, inOtherLetters, _ := talk("\uff45ve"); inOtherLetters != unknown {
		t.Errorf("challenge to another spelling has the shape %s", inOtherLetters)
	}
}

func TestExchangesRunSideBySide(t *testing.T) {
	u := newUsers(t, User{"ann", "pencil"}, User{"bob", "eraser"})
	errs := make(chan error)
	for i := range 8 {
		user := []User{{"ann", "pencil"}, {"bob", "eraser"}}[i%2]
		x, client := begin(t, u), newClient(t, user.Name, user.Password, "")
		go func() {
			_, err := converse(x, client)
			if err == nil && x.UserName() != user.Name {
				err = fmt.Errorf("%s became %q", user.Name, x.UserName())
			}
			errs <- err
		}()
	}
	for range 8 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func FuzzStep(f *testing.F) {
	f.Add([]byte(rfcFirst), []byte(strings.Replace(rfcFinal, "dHzb", "dHzc", 1)))
	f.Add([]byte("y,a=user,n=user,r=x,e=1"), []byte("c=eSws,r=x,e=1,p=eA=="))
	f.Add([]byte("p=tls-exporter,,n=u,r=x"), []byte(rfcFinal))
	f.Add([]byte("n,,n==2C=3D,r="), []byte(""))
	f.Add([]byte("n,,n=\xff,r=\x00"), []byte("c=,r=,p="))
	u := rfc7677(f)
	f.Fuzz(func(t *testing.T, first, final []byte) {
		x := begin(t, u)
		for _, data := range [][]byte{first, final} {
			reply, done, err := x.Step(data)
			if len(reply) > 65535 {
				t.Fatalf("an answer of %d bytes", len(reply))
			}
			if err != nil {
				wantRefusal(t, err, packet.NotAuthorized)
				if reply != nil || done {
					t.Fatalf("refused with %q, %v", reply, done)
				}
			}
			if done && (string(first) != rfcFirst || !bytes.HasPrefix(data, []byte(rfcFinal[:len(rfcFinal)-8]))) {
				// Base64 lets the last digits of the proof be written in several ways.
				t.Fatalf("authenticated by %q, %q", first, final)
			}
			if done != (x.UserName() != "") {
				t.Fatalf("done %v, user name %q", done, x.UserName())
			}
		}
	})
}
