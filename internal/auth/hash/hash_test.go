package hash

import (
	"errors"
	"strings"
	"testing"
)

// What others have written: mosquitto_passwd 2.0.11, the tests of the argon2
// reference implementation, libxcrypt, and Python's hashlib.
var foreign = map[string]struct{ text, password string }{
	"mosquitto, sha512":       {"$6$1Xr3/Tsupl9k7XCS$TEY5wAIgnEdYWAyakEkYW6s2qMI3HIWs21VbdcxbELmGr7/o9I20zAexRTeuggtFYWqTLqtRG3XP9EzNE9gy3Q==", "x"},
	"mosquitto, pbkdf2":       {"$7$101$KM88XFjUE30nLS0S$FmhriYgyIYnjc1O9kTySS3/CSfK5VXctiJWMu/ctE8lCMGv/ZINq7gxokEP1l0Aw5w/nb6/0XT6Orkg00KIixA==", "pencil"},
	"argon2id":                {"$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", "password"},
	"argon2id with two lanes": {"$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc", "password"},
	"bcrypt 2b":               {"$2b$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2", "correct horse"},
	"bcrypt 2a, empty":        {"$2a$05$abcdefghijklmnopqrstuu0oImNDIy4flhldV9YqunRgBAePKmw7m", ""},
	"bcrypt 2y, UTF-8":        {"$2y$05$abcdefghijklmnopqrstuu0P7rK92u8Xj.FMrJooqd75Jam5uvlAS", "ünï"},
	"Django":                  {"pbkdf2_sha256$1000$seasalt$JgZryXe2Ga8ysg6XbzkLpTdyPQrHqsinbL9BnnhgX4A=", "lètmein"},
	"Django, sha1":            {"pbkdf2_sha1$1000$seasalt2$Fg2Ob3v5Znj0W9Rs3paS2RpTY4A=", "letmein"},
	"PHC":                     {"$pbkdf2-sha512$i=1000,l=32$//4wMTIzNDU2Nzg5YWJjZA$gAcKJKOgzdtWZ5eI1Wq7KfyWgDMdUAc9OPSJTKT9KKs", "letmein"},
	"passlib":                 {"$pbkdf2-sha256$1000$//4wMTIzNDU2Nzg5YWJjZA$ybcuObgs9oY.zlKJBef/t95DZLu20Ec/XBlgqv1Yh4Q", "letmein"},
	"passlib, sha1":           {"$pbkdf2$1000$//4wMTIzNDU2Nzg5YWJjZA$anPf2PhZtusbbYfEe2w75k0Jy8s", "letmein"},
	"mosquitto-go-auth":       {"PBKDF2$sha512$1000$//4wMTIzNDU2Nzg5YWJjZA==$gAcKJKOgzdtWZ5eI1Wq7KfyWgDMdUAc9OPSJTKT9KKumysaGnAx4bnmJoxOMfrO2adcCzf82lpHcfYbsLxnZIA==", "letmein"},
}

func TestHashesOfOthersFit(t *testing.T) {
	for name, c := range foreign {
		t.Run(name, func(t *testing.T) {
			h, err := Parse(c.text)
			if err != nil {
				t.Fatal(err)
			}
			if !Check(h, []byte(c.password)) {
				t.Error("the password does not fit")
			}
			for _, wrong := range []string{c.password + "x", "", "X" + c.password} {
				if wrong != c.password && Check(h, []byte(wrong)) {
					t.Errorf("%q fits", wrong)
				}
			}
		})
	}
}

func TestNewHashesFitAndDiffer(t *testing.T) {
	password := []byte("pass:wörd\x00 with everything")
	for _, k := range Kinds() {
		t.Run(string(k), func(t *testing.T) {
			one, err := New(k, password)
			if err != nil {
				t.Fatal(err)
			}
			two, err := New(k, password)
			if err != nil {
				t.Fatal(err)
			}
			if one == two {
				t.Error("two hashes are the same: there is no salt")
			}
			if strings.ContainsAny(one, ":\n ") {
				t.Errorf("%q does not fit into a line of a password file", one)
			}
			h, err := Parse(one)
			if err != nil {
				t.Fatal(err)
			}
			if !Check(h, password) || Check(h, password[1:]) {
				t.Error("the password does not fit, or another does")
			}
			if h.slow == (k == SHA512) {
				t.Errorf("slow is %v", h.slow)
			}
		})
	}
	if _, err := New(Bcrypt, make([]byte, 73)); err == nil || !strings.Contains(err.Error(), "72 bytes") {
		t.Errorf("bcrypt of 73 bytes: %v", err)
	}
	if _, err := New("rot13", password); err == nil {
		t.Error("rot13 is a kind")
	}
	if text, err := NewPBKDF2(password, 101); err != nil || !strings.HasPrefix(text, "$7$101$") {
		t.Errorf("%q, %v", text, err)
	}
	for _, n := range []int{0, -1, maxIterations + 1} {
		if _, err := NewPBKDF2(password, n); err == nil {
			t.Errorf("%d iterations are taken", n)
		}
	}
}

func TestWhatIsNoHashIsRefused(t *testing.T) {
	sum := strings.Repeat("A", 86) + "=="
	for name, c := range map[string]struct{ text, want string }{
		"plain text":                    {"pencil", "this is no hash"},
		"nothing":                       {"", "this is no hash"},
		"hexadecimal":                   {strings.Repeat("ab", 32), "this is no hash"},
		"crypt's MD5":                   {"$1$salt$hash", "this is no hash"},
		"a long text":                   {"$6$" + strings.Repeat("A", 2000), "2003 bytes"},
		"sha512 without a hash":         {"$6$c2FsdA==", "not $6$salt$hash"},
		"sha512 without a salt":         {"$6$$" + sum, "salt is not base64"},
		"sha512 that is short":          {"$6$c2FsdA==$" + "c2hvcnQ=", "5 bytes"},
		"sha512 of another length":      {"$6$c2FsdA==$MDEyMzQ1Njc4OWFiY2RlZg==", "16 bytes"},
		"sha512 that is no base64":      {"$6$c2FsdA==$!!!", "hash is not base64"},
		"no iterations":                 {"$7$c2FsdA==$" + sum, "not $7$"},
		"0 iterations":                  {"$7$0$c2FsdA==$" + sum, "not between 1 and"},
		"iterations below 0":            {"$7$-1$c2FsdA==$" + sum, "whole number"},
		"a day of iterations":           {"$7$4000000000$c2FsdA==$" + sum, "not between 1 and"},
		"more than a number":            {"$7$99999999999999999999$c2FsdA==$" + sum, "whole number"},
		"Django's day of iterations":    {"pbkdf2_sha256$4000000000$salt$MDEyMzQ1Njc4OWFiY2RlZg==", "not between 1 and"},
		"Django with MD5":               {"pbkdf2_md5$1$salt$MDEyMzQ1Njc4OWFiY2RlZg==", "sha1, sha256 and sha512"},
		"Django without a hash":         {"pbkdf2_sha256$1$salt", "not pbkdf2_sha256"},
		"PHC with another length":       {"$pbkdf2-sha256$i=1,l=32$c2FsdA$MDEyMzQ1Njc4OWFiY2RlZg", "parameter l"},
		"go-auth without a hash":        {"PBKDF2$sha512$1$c2FsdA==", "not PBKDF2"},
		"argon2i":                       {"$argon2i$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", "only argon2id"},
		"argon2id of an old version":    {"$argon2id$v=16$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", "v=19"},
		"argon2id with 64 GiB":          {"$argon2id$v=19$m=67108864,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", "m: 67108864 is not between"},
		"argon2id that takes an hour":   {"$argon2id$v=19$m=262144,t=64,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", "m times t"},
		"argon2id with 4 billion times": {"$argon2id$v=19$m=256,t=4294967295,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", "t: 4294967295 is not between"},
		"argon2id with 255 lanes":       {"$argon2id$v=19$m=65536,t=1,p=255$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", "p: 255 is not between"},
		"argon2id with 0 lanes":         {"$argon2id$v=19$m=65536,t=1,p=0$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", "p: 0 is not between"},
		"argon2id with little memory":   {"$argon2id$v=19$m=8,t=1,p=2$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", "8 times p"},
		"argon2id in another order":     {"$argon2id$v=19$t=2,m=256,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", "m, t and p"},
		"argon2id with a key id":        {"$argon2id$v=19$m=256,t=2,p=1,keyid=Hj5+$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", "m, t and p"},
		"argon2id with a short salt":    {"$argon2id$v=19$m=256,t=2,p=1$c29t$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", "below 8"},
		"bcrypt of a day":               {"$2b$31$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2", "cost: 31 is not between"},
		"bcrypt of an unknown kind":     {"$2x$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2", "not $2b$"},
		"bcrypt cut short":              {"$2b$05$abcdefghijklmnopqrstuu", "not $2b$"},
		"bcrypt with other characters":  {"$2b$05$abcdefghijklmnopqrstuu!NbAKRhpaujgo33bRWs.NLUTJO3lOy2", "bcrypt's base64"},
	} {
		t.Run(name, func(t *testing.T) {
			h, err := Parse(c.text)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("err = %v, want %q", err, c.want)
			}
			if Check(h, nil) {
				t.Error("what was refused fits the empty password")
			}
			if plain := strings.HasPrefix(c.want, "this is no hash"); plain != errors.Is(err, ErrNoHash) {
				t.Errorf("errors.Is(ErrNoHash) is %v", !plain)
			}
		})
	}
}

func TestColumns(t *testing.T) {
	const md5OfSaltPencil = "fb99fa4cbb4b5bd7bbd0d4b6f4d1b9e6"
	for name, c := range map[string]struct {
		column            Column
		text, salt, wrong string
	}{
		"plain":             {Column{Algorithm: "plain"}, "pencil", "", "pencils"},
		"plain, empty":      {Column{Algorithm: "plain"}, "", "", "x"},
		"sha256":            {Column{Algorithm: "sha256"}, hexOf("sha256", "pencil"), "", "x"},
		"SHA256 in capital": {Column{Algorithm: "sha256"}, strings.ToUpper(hexOf("sha256", "pencil")), "", "x"},
		"md5 with prefix":   {Column{"md5", SaltPrefix}, hexOf("md5", "saltpencil"), "salt", "x"},
		"sha1 with suffix":  {Column{"sha1", SaltSuffix}, hexOf("sha1", "pencilsalt"), "salt", "x"},
		"sha512":            {Column{"sha512", SaltSuffix}, hexOf("sha512", "pencil"), "", "x"},
		"salt not asked for": {
			Column{Algorithm: "sha256"}, hexOf("sha256", "pencil"), "salt", "x",
		},
		"one that tells": {Column{}, foreign["mosquitto, pbkdf2"].text, "", "x"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := c.column.Validate(); err != nil {
				t.Fatal(err)
			}
			h, err := c.column.Parse(c.text, c.salt)
			if err != nil {
				t.Fatal(err)
			}
			right := "pencil"
			if name == "plain, empty" {
				right = ""
			}
			if !Check(h, []byte(right)) || Check(h, []byte(c.wrong)) {
				t.Error("the password does not fit, or another does")
			}
		})
	}
	for name, c := range map[string]struct {
		column     Column
		text, want string
	}{
		"a digest of another length": {Column{Algorithm: "sha256"}, md5OfSaltPencil, "not the digest"},
		"no hexadecimal":             {Column{Algorithm: "md5"}, "pencil", "not the digest"},
		"unknown algorithm":          {Column{Algorithm: "rot13"}, "", "rot13"},
		"unknown place":              {Column{Algorithm: "md5", Salt: "around"}, "", "around"},
		"salted plain text":          {Column{Algorithm: "plain", Salt: SaltPrefix}, "", "no salt"},
		"salt beside a whole hash":   {Column{Salt: SaltPrefix}, "", "needs an algorithm"},
		"a digest is never guessed":  {Column{}, hexOf("sha256", "pencil"), "no hash"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := c.column.Parse(c.text, "salt"); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("err = %v, want %q", err, c.want)
			}
		})
	}
	for _, bad := range []Column{{Algorithm: "rot13"}, {Algorithm: "md5", Salt: "around"}, {Salt: SaltSuffix}} {
		if bad.Validate() == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}

// Whatever stands in a file or a table is refused or bounded in its cost, and
// harms nobody.
func FuzzHashParse(f *testing.F) {
	for _, c := range foreign {
		f.Add(c.text)
	}
	f.Add("$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$MDEyMzQ1Njc4OWFiY2RlZg")
	f.Add("$pbkdf2-sha256$i=1,l=16$c2FsdA$MDEyMzQ1Njc4OWFiY2RlZg")
	f.Fuzz(func(t *testing.T, text string) {
		h, err := Parse(text)
		if err != nil {
			if Check(h, nil) {
				t.Error("what was refused fits")
			}
			return
		}
		quick := true
		switch form := h.form.(type) {
		case stretched:
			quick = form.iterations <= 1000
			if form.iterations > maxIterations {
				t.Errorf("%d iterations", form.iterations)
			}
		case argon:
			quick = form.memory*form.time <= 1024
			if form.memory > maxMemory || form.memory*form.time > maxWork || uint32(form.lanes) != h.lanes {
				t.Errorf("memory %d, time %d, lanes %d", form.memory, form.time, form.lanes)
			}
		case blowfish:
			quick = form[4:6] <= "05"
		}
		if quick {
			Check(h, []byte("password"))
		}
	})
}
