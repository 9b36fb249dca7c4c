package account

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/xdg-go/scram"
	"go.uber.org/goleak"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/internal/auth"
	"github.com/fantail-mqtt/fantail/internal/auth/hash"
	"github.com/fantail-mqtt/fantail/internal/broker"
	"github.com/fantail-mqtt/fantail/internal/managed"
	"github.com/fantail-mqtt/fantail/internal/wheel"
	"github.com/fantail-mqtt/fantail/packet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var _ auth.Step = (*Accounts)(nil)

var _ auth.Source = (*Accounts)(nil)

// fixture are accounts in a broker, and which connections they send away.
type fixture struct {
	*Accounts
	connected []*access.Info
	kicked    []string
}

func accounts(t testing.TB) *fixture {
	t.Helper()
	w := wheel.New()
	b := broker.New(broker.Options{Log: broker.Memory{}, Logger: slog.New(slog.DiscardHandler), Wheel: w})
	t.Cleanup(func() {
		b.Close()
		w.Close()
	})
	f := &fixture{}
	f.Accounts = New(Options{
		Settings: b, Secret: auth.NewSecret(), Pool: hash.NewPool(0, 0), Kick: f.kick, Logger: slog.New(slog.DiscardHandler),
	})
	return f
}

func (f *fixture) kick(meant func(*access.Info) bool, _ *packet.Refusal) (n int) {
	f.connected = slices.DeleteFunc(f.connected, func(i *access.Info) bool {
		if !meant(i) {
			return false
		}
		f.kicked = append(f.kicked, i.UserName)
		n++
		return true
	})
	return n
}

func (f *fixture) put(t testing.TB, name, body string) {
	t.Helper()
	if _, err := f.Put(t.Context(), name, []byte(body), false); err != nil {
		t.Fatal(err)
	}
}

func asks(name, password string) *access.Request {
	return &access.Request{ClientID: "c", UserName: name, HasUserName: true, Password: []byte(password), HasPassword: true}
}

// connects lets a client in, which is connected then.
func (f *fixture) connects(t *testing.T, name, password string) {
	t.Helper()
	a := f.Check(t.Context(), asks(name, password))
	if a.Verdict != auth.Allow {
		t.Fatalf("%s: %s: %s", name, a.Verdict, a.Why)
	}
	a.Grant.By = f.Name()
	f.connected = append(f.connected, &access.Info{UserName: name, Grant: &a.Grant})
}

func TestPasswordsAreChecked(t *testing.T) {
	f := accounts(t)
	if r := asks("ann", "x"); f.Concerns(r) || f.Check(t.Context(), r).Verdict != auth.Ignore {
		t.Error("no accounts concern somebody")
	}
	f.put(t, "ann", `{"password":"pencil"}`)
	f.put(t, "argon", `{"password":"pencil","kept_as":"argon2id"}`)
	f.put(t, "away", `{"password":"pencil","disabled":true}`)
	f.put(t, "emqx", `{"hash":"`+emqxHash+`","algorithm":"sha256","salt":"salt","salt_position":"suffix"}`)
	for name, c := range map[string]struct {
		user, password string
		verdict        auth.Verdict
		why            string
	}{
		"the right password":             {"ann", "pencil", auth.Allow, "right"},
		"a wrong one":                    {"ann", "pencils", auth.Deny, "the password is wrong"},
		"none":                           {"ann", "", auth.Deny, "the password is wrong"},
		"kept as argon2id":               {"argon", "pencil", auth.Allow, "right"},
		"kept as argon2id, a wrong one":  {"argon", "Pencil", auth.Deny, "the password is wrong"},
		"another broker's hash":          {"emqx", "pencil", auth.Allow, "right"},
		"another broker's, a wrong one":  {"emqx", "pencilsalt", auth.Deny, "the password is wrong"},
		"disabled":                       {"away", "pencil", auth.Deny, "the account is disabled"},
		"unknown":                        {"eve", "pencil", auth.Ignore, "there is no such account"},
		"a name in other letters":        {"Ann", "pencil", auth.Ignore, "there is no such account"},
		"a name that looks like a query": {"ann' OR '1'='1", "pencil", auth.Ignore, "there is no such account"},
	} {
		t.Run(name, func(t *testing.T) {
			a := f.Check(t.Context(), asks(c.user, c.password))
			if a.Verdict != c.verdict || !strings.Contains(a.Why, c.why) {
				t.Errorf("%s: %s, want %s: %s", a.Verdict, a.Why, c.verdict, c.why)
			}
		})
	}
}

// emqxHash is sha256 of "pencil" and "salt".
const emqxHash = "2187a52fbdef4be3750e483b1a7394c895581792627ef1230a5233fa3db1b0cb"

func TestAnAccountBringsItsRights(t *testing.T) {
	f := accounts(t)
	f.put(t, "ann", `{"password":"pencil","groups":["staff"],"attributes":{"site":"b1"},"superuser":true,"limits":"large","client_id":"ann-1"}`)
	g := f.Check(t.Context(), asks("ann", "pencil")).Grant
	if !g.Holds() {
		t.Error("the grant does not hold")
	}
	g.Still = nil
	want := access.Grant{Groups: []string{"staff"}, Attributes: map[string]string{"site": "b1"}, Superuser: true, Limits: "large", ClientID: "ann-1"}
	if diff := cmp.Diff(want, g); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// What is changed is in force at once: whoever is connected by it has to come
// back. Others stay.
func TestAChangeSendsItsClientsAway(t *testing.T) {
	f := accounts(t)
	for name, c := range map[string]struct {
		change func() error
		kicks  bool
	}{
		"another password":    {func() error { return f.Patch(t.Context(), "ann", []byte(`{"password":"pencil"}`)) }, true}, // another salt
		"other groups":        {func() error { return f.Patch(t.Context(), "ann", []byte(`{"groups":["x"]}`)) }, true},
		"disabled":            {func() error { return f.Patch(t.Context(), "ann", []byte(`{"disabled":true}`)) }, true},
		"removed":             {func() error { return f.Drop(t.Context(), "ann") }, true},
		"nothing that is new": {func() error { return f.Patch(t.Context(), "ann", []byte(`{"groups":[]}`)) }, false},
		"another account":     {func() error { return f.Patch(t.Context(), "bob", []byte(`{"superuser":true}`)) }, false},
		"a mistake":           {func() error { _ = f.Patch(t.Context(), "ann", []byte(`{"hash":"x"}`)); return nil }, false},
		"imported again": {func() error {
			_, err := f.Import(t.Context(), []json.RawMessage{json.RawMessage(`{"name":"ann","password":"p"}`)}, true)
			return err
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			f.put(t, "ann", `{"password":"pencil","groups":[],"disabled":false}`)
			f.put(t, "bob", `{"password":"eraser","superuser":false}`)
			f.connected, f.kicked = nil, nil
			f.connects(t, "ann", "pencil")
			f.connected = append(f.connected, &access.Info{UserName: "ann", Grant: &access.Grant{By: "auth.users"}}, &access.Info{UserName: "ann"})
			if err := c.change(); err != nil {
				t.Fatal(err)
			}
			if got := slices.Equal(f.kicked, []string{"ann"}); got != c.kicks || len(f.kicked) > 1 {
				t.Errorf("kicked %v, want %v", f.kicked, c.kicks)
			}
		})
	}
}

// What a client was let in by may change before it is connected.
func TestAGrantSaysWhetherItHolds(t *testing.T) {
	f := accounts(t)
	f.put(t, "ann", `{"password":"pencil"}`)
	g := f.Check(t.Context(), asks("ann", "pencil")).Grant
	f.put(t, "bob", `{"password":"pencil"}`)
	if !g.Holds() {
		t.Error("it does not hold")
	}
	f.put(t, "ann", `{"superuser":true}`)
	if g.Holds() {
		t.Error("it holds after a change")
	}
}

// proves lets a client of xdg-go prove a password.
func proves(t *testing.T, s *auth.SCRAM, name, password string, between func()) (*auth.Exchange, error) {
	t.Helper()
	c, err := scram.SHA256.NewClient(name, password, "")
	if err != nil {
		t.Fatal(err)
	}
	conv := c.NewConversation()
	x, err := s.Begin(auth.SCRAMSHA256)
	if err != nil {
		t.Fatal(err)
	}
	var reply []byte
	for done := false; !done; {
		data, err := conv.Step(string(reply))
		if err != nil {
			return x, err
		}
		if reply, done, err = x.Step([]byte(data)); err != nil {
			return x, err
		}
		if !done && between != nil {
			between()
		}
	}
	_, err = conv.Step(string(reply))
	return x, err
}

func TestPasswordsAreProved(t *testing.T) {
	f := accounts(t)
	users, err := auth.NewUsers([]auth.User{{Name: "cfg", Password: "pencil"}, {Name: "both", Password: "configured"}}, f.o.Secret, f.o.Pool)
	if err != nil {
		t.Fatal(err)
	}
	s := auth.NewSCRAM(f.o.Secret, users, f)
	f.put(t, "ann", `{"password":"pencil","groups":["staff"]}`)
	f.put(t, "ro\u00adse", `{"password":"IX"}`)
	f.put(t, "argon", `{"password":"pencil","kept_as":"argon2id"}`)
	f.put(t, "away", `{"password":"pencil","disabled":true}`)
	f.put(t, "both", `{"password":"managed"}`)
	for name, c := range map[string]struct{ user, password, is, by string }{
		"an account":                        {"ann", "pencil", "ann", "accounts"},
		"a wrong password":                  {"ann", "pencils", "", ""},
		"a name that SASLprep shortens":     {"rose", "\u2168", "ro\u00adse", "accounts"},
		"one of the configuration":          {"cfg", "pencil", "cfg", "auth.users"},
		"one of both, as configured":        {"both", "configured", "both", "auth.users"},
		"one of both, as managed":           {"both", "managed", "", ""},
		"one of which another hash is kept": {"argon", "pencil", "", ""},
		"a disabled one":                    {"away", "pencil", "", ""},
		"nobody":                            {"eve", "pencil", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			x, err := proves(t, s, c.user, c.password, nil)
			if x.UserName() != c.is || (err == nil) != (c.is != "") {
				t.Fatalf("is %q, err = %v, want %q", x.UserName(), err, c.is)
			}
			if g := x.Grant(); c.is != "" && g.By != c.by || c.is == "ann" && !slices.Equal(g.Groups, []string{"staff"}) {
				t.Errorf("grant %+v, want one by %s", g, c.by)
			}
		})
	}
	_, err = proves(t, s, "ann", "pencil", func() { f.put(t, "ann", `{"superuser":true}`) })
	if err == nil {
		t.Error("an account that has changed since the first step is let in")
	}
}

// challenge is what the server says first to a name.
func challenge(t *testing.T, s *auth.SCRAM, name string) (salt, shape string) {
	t.Helper()
	x, err := s.Begin(auth.SCRAMSHA256)
	if err != nil {
		t.Fatal(err)
	}
	reply, _, err := x.Step([]byte("n,,n=" + name + ",r=abc"))
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(reply), ",")
	return parts[1], fmt.Sprint(len(parts[0]), len(parts[1]), parts[2])
}

func TestAnAccountLooksLikeNone(t *testing.T) {
	f := accounts(t)
	f.put(t, "ann", `{"password":"pencil"}`)
	f.put(t, "argon", `{"password":"pencil","kept_as":"argon2id"}`)
	f.put(t, "away", `{"password":"pencil","disabled":true}`)
	s := auth.NewSCRAM(f.o.Secret, f)
	after := auth.NewSCRAM(f.o.Secret, f) // as after a restart
	_, want := challenge(t, s, "ann")
	for _, name := range []string{"ann", "argon", "away", "eve"} {
		salt, shape := challenge(t, s, name)
		if shape != want {
			t.Errorf("%s: %s, want %s", name, shape, want)
		}
		if again, _ := challenge(t, after, name); again != salt {
			t.Errorf("%s: salt %s, then %s", name, salt, again)
		}
	}
}

// An unknown name is treated as the accounts are, each as often.
func TestUnknownNamesHaveTheKindsOfTheKnown(t *testing.T) {
	f := accounts(t)
	f.put(t, "ann", `{"password":"pencil"}`)
	if s := f.decoy("eve"); s.SCRAM == "" {
		t.Errorf("%+v, want one of SCRAM", s)
	}
	h, err := hash.NewPBKDF2([]byte("pencil"), 10)
	if err != nil {
		t.Fatal(err)
	}
	f.put(t, "bob", `{"hash":"`+h+`"}`)
	counts := map[bool]int{}
	for i := range 200 {
		name := fmt.Sprint("nobody ", i)
		s := f.decoy(name)
		if s != f.decoy(name) {
			t.Fatalf("%s is treated in two ways", name)
		}
		if a := f.Check(t.Context(), asks(name, "pencil")); a.Verdict != auth.Ignore {
			t.Fatalf("%s: %s, although its decoy has that password", name, a.Verdict)
		}
		counts[s.SCRAM != ""]++
	}
	if counts[true] < 50 || counts[false] < 50 {
		t.Errorf("%v, want about as many of either", counts)
	}
}

func TestWhatDoesNotFitIsRefused(t *testing.T) {
	f := accounts(t)
	f.put(t, "ann", `{"password":"pencil"}`)
	f.put(t, "ro\u00adse", `{"password":"pencil"}`)
	for name, c := range map[string]struct{ user, body, err string }{
		"no password":             {"new", `{}`, "a new user needs a password, or a hash of one"},
		"an empty password":       {"new", `{"password":""}`, "the password is empty"},
		"a long password":         {"new", `{"password":"` + strings.Repeat("x", 65_536) + `"}`, "more than 65535 bytes"},
		"two ways":                {"new", `{"password":"x","hash":"$6$"}`, "give one of password, scram and hash"},
		"an unknown form":         {"new", `{"password":"x","kept_as":"md5"}`, `kept_as: "md5" is no kind of hash`},
		"a form of nothing":       {"ann", `{"kept_as":"argon2id"}`, "kept_as is about a password, which is missing"},
		"a hash that is none":     {"new", `{"hash":"pencil"}`, "hash: this is no hash"},
		"a digest that is none":   {"new", `{"hash":"pencil","algorithm":"sha256"}`, "hash: the hash in the table is not the digest"},
		"a salt of nothing":       {"ann", `{"salt":"x"}`, "are about a hash, which is missing"},
		"a verifier that is none": {"new", `{"scram":"SCRAM-SHA-1$4096:x$y:z"}`, "scram: it is not SCRAM-SHA-256$"},
		"an unknown field":        {"ann", `{"grups":[]}`, `unknown field "grups"`},
		"something else":          {"ann", `[]`, "the JSON cannot be read"},
		"two values":              {"ann", `{}{}`, "something stands behind the value"},
		"an empty group":          {"ann", `{"groups":[""]}`, "a group has a name"},
		"an empty attribute":      {"ann", `{"attributes":{"":"x"}}`, "an attribute has a name"},
		"an empty name":           {"", `{"password":"x"}`, "the name of a user is not empty"},
		"a control character":     {"a\nb", `{"password":"x"}`, "holds no control characters"},
		"no text":                 {"a\xff", `{"password":"x"}`, "is UTF-8 text"},
		"a long name":             {strings.Repeat("x", 1025), `{"password":"x"}`, "has at most 1024 bytes, not 1025"},
		"a known name, unwritten": {"rose", `{"password":"x"}`, `is the same as "ro\u00adse", written in another way`},
		"a known name, rewritten": {"\uff41nn", `{"password":"x"}`, `is the same as "ann", written in another way`},
		"too much":                {"ann", `{"groups":["` + strings.Repeat("x", 65_536) + `"]}`, "and may take 65536"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := f.Put(t.Context(), c.user, []byte(c.body), false)
			if err == nil || !strings.Contains(err.Error(), c.err) || !managed.IsKind(err, managed.Wrong) {
				t.Errorf("err = %v, want %q", err, c.err)
			}
			if err != nil && strings.Contains(err.Error(), "pencil") && strings.Contains(c.body, "hash") {
				t.Error("the error tells what was sent")
			}
		})
	}
	if f.Count() != 2 {
		t.Errorf("%d accounts, want 2", f.Count())
	}
}

func TestWhatIsThereAndWhatIsNot(t *testing.T) {
	f := accounts(t)
	ctx := t.Context()
	added, err := f.Put(ctx, "ann", []byte(`{"password":"pencil","groups":["a"]}`), true)
	if !added || err != nil {
		t.Fatal(added, err)
	}
	if _, err := f.Put(ctx, "ann", []byte(`{"password":"other"}`), true); !managed.IsKind(err, managed.Exists) || err.Error() != `there is a user "ann" already` {
		t.Errorf("err = %v", err)
	}
	for what, err := range map[string]error{
		"show": func() error { _, err := f.Show("bob"); return err }(), "patch": f.Patch(ctx, "bob", []byte(`{"superuser":true}`)), "drop": f.Drop(ctx, "bob"),
	} {
		if !managed.IsKind(err, managed.Missing) || err.Error() != `there is no user "bob"` {
			t.Errorf("%s: %v", what, err)
		}
	}
	// To put is to say all but the password.
	if added, err := f.Put(ctx, "ann", []byte(`{}`), false); added || err != nil {
		t.Fatal(added, err)
	}
	got, err := f.Show("ann")
	if err != nil {
		t.Fatal(err)
	}
	v, _ := got.(View)
	if v.Groups != nil || v.KeptAs != AsSCRAM || time.Since(v.Created) > time.Minute {
		t.Errorf("%+v", v)
	}
	if a := f.Check(ctx, asks("ann", "pencil")); a.Verdict != auth.Allow {
		t.Error("the password has not stayed")
	}
}

// Nothing that is shown holds a password, or what is kept of one. An export puts
// the same accounts in again.
func TestListsAndExports(t *testing.T) {
	f := accounts(t)
	for i := range 25 {
		kept := []string{AsSCRAM, "sha512"}[i%2]
		f.put(t, fmt.Sprintf("user-%02d", i), fmt.Sprintf(`{"password":"secret-%d","kept_as":%q,"groups":["g%d"]}`, i, kept, i))
	}
	var names []string
	var export []json.RawMessage
	for after, more := "", true; more; {
		var list, secrets []any
		list, more = f.List(after, 10)
		secrets, _ = f.Export(after, 10)
		for i := range list {
			v, _ := list[i].(View)
			names, after = append(names, v.Name), v.Name
			text, err := json.Marshal(v)
			if err != nil || strings.Contains(string(text), "$") || strings.Contains(string(text), "secret-") {
				t.Fatalf("%s, %v", text, err)
			}
			text, err = json.Marshal(secrets[i])
			if err != nil {
				t.Fatal(err)
			}
			export = append(export, text)
		}
	}
	if len(names) != 25 || !slices.IsSorted(names) {
		t.Errorf("%q", names)
	}
	other := accounts(t)
	report, err := other.Import(t.Context(), export, false)
	if err != nil || report.Added != 25 || len(report.Refused) > 0 {
		t.Fatalf("%+v, %v", report, err)
	}
	for i := range 25 {
		if a := other.Check(context.Background(), asks(names[i], fmt.Sprint("secret-", i))); a.Verdict != auth.Allow || a.Grant.Groups[0] != fmt.Sprint("g", i) {
			t.Errorf("%s: %s", names[i], a.Why)
		}
	}
}

func TestAnImportReportsWhatItLeavesOut(t *testing.T) {
	f := accounts(t)
	f.put(t, "ann", `{"password":"pencil"}`)
	list := []json.RawMessage{
		json.RawMessage(`{"name":"ann","password":"other"}`), json.RawMessage(`{"name":"bob","password":"x"}`),
		json.RawMessage(`{"name":"eve"}`), json.RawMessage(`{"nome":"eve"}`),
	}
	report, err := f.Import(t.Context(), list, false)
	if err != nil || report.Added != 1 || len(report.Refused) != 3 {
		t.Fatalf("%+v, %v", report, err)
	}
	if r := report.Refused[0]; r.Name != "ann" || r.Error != `there is a user "ann" already` {
		t.Errorf("%+v", r)
	}
	if report, err = f.Import(t.Context(), list, true); err != nil || report.Changed != 2 {
		t.Errorf("%+v, %v", report, err)
	}
}
