package ldap

import (
	"strings"
	"testing"

	"github.com/go-ldap/ldap/v3"
)

func FuzzEscape(f *testing.F) {
	for _, s := range []string{"ann", "", " a ", "#", "a,b=c", `\00`, "\x00", "*)(uid=*", "\xff\xfe", "é", "a\u0301", "\u2028", "=+<>;\"'/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if name == "" {
			return
		}
		dn, err := ldap.ParseDN("uid=" + escape(name) + ",dc=example")
		if err != nil {
			t.Fatalf("%q is escaped to no DN: %v", name, err)
		}
		if len(dn.RDNs) != 2 || len(dn.RDNs[0].Attributes) != 1 || dn.RDNs[0].Attributes[0].Value != name {
			t.Fatalf("%q became %+v", name, dn)
		}
		filter, err := ldap.CompileFilter("(uid=" + escape(name) + ")")
		if err != nil {
			t.Fatalf("%q is escaped to no filter: %v", name, err)
		}
		if filter.Tag != ldap.FilterEqualityMatch || len(filter.Children) != 2 || filter.Children[1].Data.String() != name {
			t.Fatalf("%q became another filter", name)
		}
	})
}

func TestNewTellsMistakes(t *testing.T) {
	right := Options{URL: "ldap://127.0.0.1", DN: "uid=${username},dc=example"}
	for name, c := range map[string]struct {
		change func(*Options)
		words  string
	}{
		"no URL":                      {func(o *Options) { o.URL = "" }, "ldaps://"},
		"a scheme":                    {func(o *Options) { o.URL = "http://h" }, "ldaps://"},
		"a CA that is not there":      {func(o *Options) { o.StartTLS, o.CA = true, "/nowhere" }, "ca:"},
		"a CA that is none":           {func(o *Options) { o.StartTLS, o.CA = true, "escape_test.go" }, "CERTIFICATE"},
		"neither dn nor filter":       {func(o *Options) { o.DN = "" }, "dn or filter is missing"},
		"a dn for everybody":          {func(o *Options) { o.DN = "uid=ann" }, "neither dn nor filter has"},
		"no dn":                       {func(o *Options) { o.DN = "${username}" }, "dn:"},
		"no filter":                   {func(o *Options) { o.DN, o.Filter = "", "(uid=${username}" }, "filter:"},
		"a placeholder":               {func(o *Options) { o.DN = "uid=${dn}" }, "${dn} is no placeholder"},
		"no filter for groups":        {func(o *Options) { o.GroupFilter = "member=${dn})" }, "group_filter:"},
		"no superuser_group":          {func(o *Options) { o.SuperuserGroup = "admins" }, "superuser_group"},
		"an account without password": {func(o *Options) { o.BindDN = "cn=x" }, "bind_password"},
	} {
		t.Run(name, func(t *testing.T) {
			o := right
			c.change(&o)
			if _, err := New(o); err == nil || !strings.Contains(err.Error(), c.words) {
				t.Errorf("%v", err)
			}
		})
	}
	if _, err := New(right); err != nil {
		t.Error(err)
	}
}
