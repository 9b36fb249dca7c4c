package sql

import (
	"strings"
	"testing"
)

func TestNewTellsMistakes(t *testing.T) {
	right := Options{Driver: DriverPostgres, DSN: "postgres://fantail@127.0.0.1/mqtt", Query: "SELECT 1 FROM t WHERE a = ${username}"}
	for name, c := range map[string]struct {
		change func(*Options)
		words  string
	}{
		"a driver":                     {func(o *Options) { o.Driver = "sqlite" }, "sqlite"},
		"a hash":                       {func(o *Options) { o.Hash = "rot13" }, "rot13"},
		"a place of the salt":          {func(o *Options) { o.Hash, o.SaltPosition = "md5", "middle" }, "middle"},
		"a salt where there is one":    {func(o *Options) { o.SaltPosition = "prefix" }, "salt_position"},
		"a query without placeholders": {func(o *Options) { o.Query = "SELECT 1" }, "no placeholder"},
		"an unknown placeholder":       {func(o *Options) { o.Query = "SELECT ${password}" }, "${password} is no placeholder"},
		"quotes":                       {func(o *Options) { o.Query = "SELECT 1 FROM t WHERE a = '${username}'" }, "leave the quotes out"},
		"a wildcard":                   {func(o *Options) { o.AccessQuery = "SELECT 1 FROM t WHERE a LIKE '%${username}%'" }, "acl_query"},
		"a mode that pastes":           {func(o *Options) { o.DSN += "?default_query_exec_mode=simple_protocol" }, "pastes"},
		"a DSN":                        {func(o *Options) { o.DSN = "postgres://fantail:s3cret@[::1/x?sslmode=maybe" }, "sslmode=verify-full"},
		"another DSN":                  {func(o *Options) { o.DSN = "host=h password='s3cret port=x" }, "sslmode=verify-full"},
		"a DSN of MySQL":               {func(o *Options) { o.Driver, o.DSN = DriverMySQL, "fantail:s3cret@tcp(h" }, "tcp(host:3306)"},
		"a network of MySQL":           {func(o *Options) { o.Driver, o.DSN = DriverMySQL, "s3cret(h)/x" }, "tcp(host:3306)"},
	} {
		t.Run(name, func(t *testing.T) {
			o := right
			c.change(&o)
			s, err := New(o)
			if err == nil {
				s.Close()
				t.Fatal("it is taken")
			}
			if !strings.Contains(err.Error(), c.words) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("%v", err)
			}
		})
	}
	s, err := New(right)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}

func TestParameters(t *testing.T) {
	const query = "SELECT ${username}, ${clientid} WHERE ${username}"
	for _, c := range []struct {
		dialect dialect
		want    string
	}{{postgres{}, "SELECT $1, $2 WHERE $3"}, {mysqlDialect{}, "SELECT ?, ? WHERE ?"}} {
		s, err := prepare(c.dialect, query)
		if err != nil || s.text != c.want || strings.Join(s.names, " ") != "username clientid username" {
			t.Errorf("%+v, %v", s, err)
		}
	}
}

func TestGroups(t *testing.T) {
	for text, want := range map[string]string{
		"":                       "",
		"{}":                     "",
		"a":                      "a",
		" a , b,,":               "a|b",
		`["a, b", "c"]`:          "a, b|c",
		`{a,"b,c","d\"\\",NULL}`: `a|b,c|d"\`,
		`{"NULL","{}"}`:          "NULL|{}",
	} {
		got, err := list(text)
		if err != nil || strings.Join(got, "|") != want {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	for _, text := range []string{`["a`, `[1]`, `{"a}`, `{{a},{b}}`} {
		if got, err := list(text); err == nil {
			t.Errorf("%q: %q", text, got)
		}
	}
}
