package file

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/internal/auth"
	"github.com/fantail-mqtt/fantail/internal/auth/hash"
	"github.com/fantail-mqtt/fantail/packet"
)

// Hashes of "pencil" and "x", as mosquitto_passwd 2.0.11 wrote them.
const (
	pencil = "$7$101$KM88XFjUE30nLS0S$FmhriYgyIYnjc1O9kTySS3/CSfK5VXctiJWMu/ctE8lCMGv/ZINq7gxokEP1l0Aw5w/nb6/0XT6Orkg00KIixA=="
	x      = "$6$1Xr3/Tsupl9k7XCS$TEY5wAIgnEdYWAyakEkYW6s2qMI3HIWs21VbdcxbELmGr7/o9I20zAexRTeuggtFYWqTLqtRG3XP9EzNE9gy3Q=="
)

func write(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "passwd")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t *testing.T, text string) *File {
	t.Helper()
	f, err := New(Options{Path: write(t, text), Pool: hash.NewPool(1, 0)})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func request(name, password string) *access.Request {
	return &access.Request{UserName: name, HasUserName: true, Password: []byte(password), HasPassword: true}
}

func TestCheck(t *testing.T) {
	f := open(t, "\ufeff# devices\n\nann:"+pencil+"\r\n  bob : "+x+" \nünï codé:"+x)
	nameless, without := request("", ""), request("ann", "")
	nameless.HasUserName, without.HasPassword, without.Password = false, false, nil
	for name, c := range map[string]struct {
		request *access.Request
		verdict auth.Verdict
		why     string
	}{
		"the password":             {request("ann", "pencil"), auth.Allow, "line 3 of passwd"},
		"another kind of hash":     {request("bob", "x"), auth.Allow, "line 4 of passwd"},
		"a name in Unicode":        {request("ünï codé", "x"), auth.Allow, "line 5"},
		"a wrong password":         {request("ann", "x"), auth.Deny, "not that of line 3"},
		"an empty password":        {request("ann", ""), auth.Deny, "not that of line 3"},
		"no password":              {without, auth.Deny, "no password"},
		"no name":                  {nameless, auth.Ignore, "no user name"},
		"an empty name":            {request("", "x"), auth.Ignore, "no such user"},
		"an unknown name":          {request("eve", "pencil"), auth.Ignore, "no such user"},
		"a name in another case":   {request("Ann", "pencil"), auth.Ignore, "no such user"},
		"a name that is a comment": {request("# devices", "pencil"), auth.Ignore, "no such user"},
	} {
		t.Run(name, func(t *testing.T) {
			a := f.Check(t.Context(), c.request)
			if a.Verdict != c.verdict || !strings.Contains(a.Why, c.why) || a.Failed {
				t.Errorf("%v, %q", a.Verdict, a.Why)
			}
			if a.Verdict == auth.Deny && (a.Code != packet.BadUserNameOrPassword || a.Do == "") {
				t.Errorf("code %v, do %q", a.Code, a.Do)
			}
			if strings.Contains(a.Why+a.Do, "pencil") || strings.Contains(a.Why+a.Do, "$7$") {
				t.Errorf("the answer tells a secret: %q, %q", a.Why, a.Do)
			}
			if f.Concerns(c.request) != c.request.HasUserName {
				t.Error("Concerns is wrong")
			}
		})
	}
}

func TestAnUnknownNameCostsWhatAKnownOneDoes(t *testing.T) {
	f := open(t, "ann:"+pencil+"\nbob:"+pencil+"\n")
	for i, name := range []string{"ann", "bob", "eve", "mallory", ""} {
		f.Check(t.Context(), request(name, "guess"))
		if got := f.o.Pool.Figures().Checked; got != uint64(i+1) {
			t.Errorf("%q: %d hashes computed, want %d", name, got, i+1)
		}
	}
	// The stand-in is the same each time, or the time would tell after all.
	table := f.current.Load()
	for range 100 {
		one, known := table.find("eve", f.seed)
		if two, _ := table.find("eve", f.seed); known || one != two {
			t.Fatal("a name has two stand-ins")
		}
	}
	if a := f.Check(t.Context(), request("eve", "pencil")); a.Verdict != auth.Ignore {
		t.Errorf("the password of the stand-in lets in: %v", a.Verdict)
	}
}

func TestAnEmptyFileKnowsNobody(t *testing.T) {
	f := open(t, "# nobody yet\n")
	if f.Concerns(request("ann", "pencil")) {
		t.Error("it concerns itself with somebody")
	}
	if a := f.Check(t.Context(), request("ann", "pencil")); a.Verdict != auth.Ignore {
		t.Errorf("%v", a.Verdict)
	}
}

func TestTooManyAtOnceIsAFailure(t *testing.T) {
	path := write(t, "ann:"+pencil+"\n")
	f, err := New(Options{Path: path, Pool: hash.NewPool(1, 1)})
	if err != nil {
		t.Fatal(err)
	}
	busy := make(chan auth.Answer, 64)
	for range cap(busy) {
		go func() { busy <- f.Check(t.Context(), request("ann", "pencil")) }()
	}
	allowed := 0
	for range cap(busy) {
		switch a := <-busy; {
		case a.Verdict == auth.Allow:
			allowed++
		case !a.Failed || a.Code != packet.ServerUnavailable || a.Why != "too many logins at once" || a.Do == "":
			t.Errorf("%+v", a)
		}
	}
	if allowed == 0 {
		t.Error("nobody was let in")
	}
}

func TestEveryMistakeIsNamedWithItsLine(t *testing.T) {
	path := write(t, strings.Join([]string{
		"# a comment",
		"ann:" + pencil,
		"no colon here",
		":" + pencil,
		"bob:",
		"carl:secret",
		"dora:$6$broken",
		"ann:" + x,
		"emil:$argon2id$v=19$m=67108864,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
		"f\x01:" + x,
		"g\xff:" + x,
	}, "\n"))
	_, err := New(Options{Path: path})
	_, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("err = %v, want an *Error", err)
	}
	want := []string{
		":3: there is no colon: write name:hash, or # before a comment",
		":4: the user name is empty",
		`:5: "bob" has no password`,
		`:6: the password of "carl" is no hash: if it is plain text, run fantail passwd -U on this file`,
		`:7: the hash of "dora" cannot be taken: it is not $6$salt$hash`,
		`:8: "ann" is in line 2 already: remove one of the two`,
		`:9: the hash of "emil" cannot be taken: m: 67108864 is not between 8 and 262144`,
		":10: the user name is not UTF-8 text without control characters",
		":11: the user name is not UTF-8 text without control characters",
	}
	for i := range want {
		want[i] = path + want[i]
	}
	if diff := cmp.Diff(want, strings.Split(err.Error(), "\n")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if strings.Contains(err.Error(), "secret") {
		t.Error("the error tells a password")
	}
	_, err = New(Options{Path: write(t, strings.Repeat("x,y,z\n", 1000))})
	if lines := strings.Split(err.Error(), "\n"); len(lines) != shown+1 || !strings.HasSuffix(lines[shown], "and 980 more") {
		t.Errorf("%d lines, the last is %q", len(lines), lines[len(lines)-1])
	}
}

func TestAFileThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]string{
		filepath.Join(dir, "gone"):           "fantail passwd -c",
		dir:                                  "no regular file",
		filepath.Join(write(t, ""), "below"): "cannot be read",
	} {
		if _, err := New(Options{Path: path}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestAFileIsTakenAnewAsAWholeOrNotAtAll(t *testing.T) {
	f := open(t, "ann:"+pencil+"\n")
	again := func(text string) error {
		if err := os.WriteFile(f.o.Path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		commit, err := f.Prepare()
		if err != nil {
			return err
		}
		if a := f.Check(t.Context(), request("ann", "pencil")); a.Verdict != auth.Allow {
			t.Error("what was prepared is in force before it is committed")
		}
		commit()
		return nil
	}
	if err := again("ann:" + x + "\nbob\n"); err == nil {
		t.Error("a broken file is taken")
	}
	if a := f.Check(t.Context(), request("ann", "pencil")); a.Verdict != auth.Allow {
		t.Error("a broken file has changed something")
	}
	if err := again("ann:" + x + "\n"); err != nil {
		t.Fatal(err)
	}
	if a := f.Check(t.Context(), request("ann", "x")); a.Verdict != auth.Allow {
		t.Errorf("%v: %s", a.Verdict, a.Why)
	}
}

// A grant holds as long as the file has the same hash for its user, wherever.
func TestAGrantHoldsAsLongAsItsLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "passwd")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("ann:" + pencil + "\nbob:" + pencil + "\ncat:" + pencil + "\n")
	f, err := New(Options{Path: path, Pool: hash.NewPool(0, 0)})
	if err != nil {
		t.Fatal(err)
	}
	grants := map[string]func() bool{}
	for _, name := range []string{"ann", "bob", "cat"} {
		a := f.Check(t.Context(), request(name, "pencil"))
		if a.Verdict != auth.Allow {
			t.Fatalf("%s: %+v", name, a)
		}
		grants[name] = a.Grant.Still
	}
	other, err := hash.New(hash.SHA512, []byte("pencil"))
	if err != nil {
		t.Fatal(err)
	}
	write("# moved\ncat:" + pencil + "\nann:" + other + "\n")
	commit, err := f.Prepare()
	if err != nil {
		t.Fatal(err)
	}
	for name, still := range grants {
		if !still() {
			t.Errorf("%s: the new file is in force before commit", name)
		}
	}
	commit()
	for name, want := range map[string]bool{"ann": false, "bob": false, "cat": true} {
		if got := grants[name](); got != want {
			t.Errorf("%s's grant holds: %v", name, got)
		}
	}
}
