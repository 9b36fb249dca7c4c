package topic

import (
	"strings"
	"testing"
)

func TestValidName(t *testing.T) {
	cases := map[string]struct {
		name   string
		levels int
		wrong  string // part of the error; empty: valid
	}{
		"one level":                        {name: "a"},
		"a slash alone is two empty ones":  {name: "/", levels: 2},
		"empty levels count":               {name: "//", levels: 2, wrong: "3 levels, the limit is 2"},
		"spaces are characters":            {name: "Accounts payable"},
		"a name may begin with $":          {name: "$SYS/broker/uptime"},
		"any character above U+0000":       {name: "a/\x01/é/\U0010ffff"},
		"empty":                            {name: "", wrong: "empty"},
		"U+0000":                           {name: "a\x00b", wrong: "U+0000 at byte 1"},
		"plus as a level":                  {name: "a/+", wrong: "wildcard + at byte 2"},
		"plus inside a level":              {name: "a+b", wrong: "wildcard +"},
		"hash":                             {name: "a/#", wrong: "wildcard # at byte 2"},
		"the longest":                      {name: strings.Repeat("a", 65535)},
		"one byte more":                    {name: strings.Repeat("a", 65536), wrong: "65536 bytes"},
		"as many levels as allowed":        {name: "a/b/c", levels: 3},
		"one level more":                   {name: "a/b/c/d", levels: 3, wrong: "4 levels"},
		"no limit of levels":               {name: strings.Repeat("/", 65535)},
		"what follows a slash by its code": {name: "a0b/:", levels: 2},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			checkError(t, ValidName(c.name, c.levels), c.wrong)
			checkError(t, ValidName([]byte(c.name), c.levels), c.wrong)
		})
	}
}

func TestValidNameDoesNotAllocate(t *testing.T) {
	name := []byte("acme/site001/dev000001/temperature")
	text := string(name)
	if n := testing.AllocsPerRun(100, func() {
		if ValidName(name, 8) != nil || ValidName(text, 8) != nil {
			t.Error("a good name was refused")
		}
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func checkError(t *testing.T, err error, wrong string) {
	t.Helper()
	if wrong == "" {
		if err != nil {
			t.Errorf("err = %v, want none", err)
		}
		return
	}
	if err == nil || !strings.Contains(err.Error(), wrong) {
		t.Errorf("err = %v, want one that says %q", err, wrong)
	}
}

func BenchmarkValidName(b *testing.B) {
	name := []byte("acme/site001/dev000001/temperature")
	for b.Loop() {
		if ValidName(name, 128) != nil {
			b.Fatal("a good name was refused")
		}
	}
}
