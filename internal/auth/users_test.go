package auth

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/fantail-mqtt/fantail/internal/access"
)

// users are those of a configuration, with their SCRAM.
type users struct {
	*Users
	scram *SCRAM
}

func newUsers(t testing.TB, list ...User) *users {
	t.Helper()
	secret := NewSecret()
	u, err := NewUsers(list, secret, atOnce{})
	if err != nil {
		t.Fatal(err)
	}
	return &users{u, NewSCRAM(secret, u)}
}

func TestCheck(t *testing.T) {
	u := newUsers(t, User{"ann", "pencil"}, User{"bob", ""}, User{"ærø", "\U0001F511 key"}, User{"raw", "\xff\xfe"}, User{"wide", "ｐｅｎ"})
	cases := map[string]struct {
		name, password string
		want           bool
	}{
		"the right password":              {"ann", "pencil", true},
		"a wrong password":                {"ann", "pencils", false},
		"a part of the password":          {"ann", "penci", false},
		"no password":                     {"ann", "", false},
		"another user's password":         {"bob", "pencil", false},
		"an empty password that is right": {"bob", "", true},
		"an unknown user":                 {"eve", "pencil", false},
		"an unknown user without one":     {"eve", "", false},
		"no name":                         {"", "", false},
		"a name in other letters":         {"Ann", "pencil", false},
		"a name in another spelling":      {"\uff41nn", "pencil", false},
		"a password younger than SCRAM":   {"ærø", "\U0001F511 key", true},
		"a password that is not text":     {"raw", "\xff\xfe", true},
		"other bytes that are not text":   {"raw", "\xff\xfd", false},
		"another spelling of a password":  {"wide", "pen", true}, // as SCRAM has it
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if _, got := u.fits(c.name, []byte(c.password)); got != c.want {
				t.Errorf("Check(%q, %q) = %v, want %v", c.name, c.password, got, c.want)
			}
		})
	}
}

func TestNewUsersTellsAllMistakes(t *testing.T) {
	_, err := NewUsers([]User{{"ann", "secret"}, {"", "secret"}, {"ann", "secret"}, {"\uff41nn", "secret"}}, NewSecret(), atOnce{})
	want := "user 2: name is empty\n" +
		"user 3: name \"ann\" comes twice\n" +
		"user 4: name \"\uff41nn\" is the same as \"ann\", written in another way"
	if err == nil || err.Error() != want {
		t.Errorf("err = %v\nwant  %s", err, want)
	}
}

func TestNoUsersKnowNobody(t *testing.T) {
	if _, ok := newUsers(t).fits("ann", nil); ok {
		t.Error("somebody got in")
	}
}

func TestTheSamePasswordHasOtherVerifiers(t *testing.T) {
	a := newUsers(t, User{"ann", "pencil"}, User{"bob", "pencil"})
	b := newUsers(t, User{"ann", "pencil"})
	ann := a.table.Load().byName["ann"].verifier
	if bob := a.table.Load().byName["bob"].verifier; ann.Salt == bob.Salt || string(ann.StoredKey) == string(bob.StoredKey) {
		t.Error("two users share their salt")
	}
	if later := b.table.Load().byName["ann"].verifier; ann.Salt == later.Salt {
		t.Error("the salt is the same in another run")
	}
}

// An unknown user costs what a known one does: about 4096 hashes, not one
// lookup. The best of several runs leaves the noise of the machine out.
func TestAnUnknownUserTakesAsLong(t *testing.T) {
	u := newUsers(t, User{"ann", "pencil"})
	best := func(name string) time.Duration {
		least := time.Hour
		for range 8 {
			start := time.Now()
			if _, ok := u.fits(name, []byte("pencils")); ok {
				t.Fatalf("%s got in", name)
			}
			least = min(least, time.Since(start))
		}
		return least
	}
	if known, unknown := best("ann"), best("eve"); unknown < known/3 || known < unknown/3 {
		t.Errorf("known: %v, unknown: %v", known, unknown)
	}
	known := testing.AllocsPerRun(3, func() { u.fits("ann", []byte("pencils")) })
	unknown := testing.AllocsPerRun(3, func() { u.fits("eve", []byte("pencils")) })
	if known != unknown {
		t.Errorf("allocations: known %v, unknown %v", known, unknown)
	}
}

// atOnce is a Pool without a bound.
type atOnce struct{}

func (atOnce) Do(_ context.Context, f func()) error {
	f()
	return nil
}

// full is a Pool that has no place.
type full struct{}

func (full) Do(context.Context, func()) error { return errors.New("too many logins at once") }

func TestAPasswordThatIsNotCheckedLetsNobodyIn(t *testing.T) {
	u := newUsers(t, User{"ann", "pencil"})
	u.pool = full{}
	a := u.Check(t.Context(), &access.Request{UserName: "ann", HasUserName: true, Password: []byte("pencil")})
	if a.Verdict != Deny || !a.Failed {
		t.Errorf("%+v", a)
	}
}

// A grant holds as long as its user is there with the same password.
func TestAnotherListOfUsers(t *testing.T) {
	u := newUsers(t, User{"ann", "pencil"}, User{"bob", "pencil"}, User{"cat", "ｐｅｎ"})
	granted := func(name, password string) (still func() bool) {
		t.Helper()
		a := u.Check(t.Context(), &access.Request{UserName: name, HasUserName: true, Password: []byte(password), HasPassword: true})
		if a.Verdict != Allow {
			t.Fatalf("%s: %+v", name, a)
		}
		return a.Grant.Still
	}
	ann, bob, cat := granted("ann", "pencil"), granted("bob", "pencil"), granted("cat", "pen")
	proved, _ := u.Proof("bob")
	want := func(a, b, c bool) {
		t.Helper()
		if ann() != a || bob() != b || cat() != c || proved.Grant.Holds() != b {
			t.Errorf("ann %v, bob %v, cat %v, bob by proof %v", ann(), bob(), cat(), proved.Grant.Holds())
		}
	}
	next := []User{{"dan", "pencil"}, {"cat", "pen"}, {"bob", "eraser"}} // cat's password is the same, in another spelling
	if _, err := u.Replace(append(next, User{"", ""})); err == nil {
		t.Error("a list with a mistake is taken")
	}
	commit, err := u.Replace(next)
	if err != nil {
		t.Fatal(err)
	}
	want(true, true, true)
	commit()
	want(false, false, true)
	granted("dan", "pencil")
	if commit, err = u.Replace([]User{{"ann", "pencil"}}); err != nil {
		t.Fatal(err)
	}
	commit()
	want(false, false, false) // ann is back, and has to come again
	if u.Count() != 1 {
		t.Errorf("%d users", u.Count())
	}
}
