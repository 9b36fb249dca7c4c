package ldap

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/internal/auth/fill"
)

// mistake is what the directory answered and what the owner has to correct.
type mistake struct{ why, do string }

func (m *mistake) Error() string { return m.why }

// answered makes a mistake of an error with which a directory that works has
// answered, and leaves the others as they are.
func answered(err error, why, do string) error {
	e, is := errors.AsType[*ldap.Error](err)
	if !is || e.ResultCode >= ldap.ErrorNetwork || ldap.IsErrorAnyOf(err, ldap.LDAPResultBusy, ldap.LDAPResultUnavailable,
		ldap.LDAPResultTimeLimitExceeded, ldap.LDAPResultOther, ldap.LDAPResultOperationsError) {
		return err
	}
	return &mistake{why + ": " + err.Error(), do}
}

// serve makes the connection the service account's.
func (l *LDAP) serve(c *conn) error {
	if l.o.BindDN == "" {
		return nil
	}
	if err := c.Bind(l.o.BindDN, l.o.BindPassword); err != nil {
		return answered(err, "the directory does not take bind_dn and bind_password", "correct them")
	}
	return nil
}

// find searches for the client's entry; nil: there is none.
func (l *LDAP) find(c *conn, r *access.Request) (*ldap.Entry, error) {
	if err := l.serve(c); err != nil {
		return nil, err
	}
	found, err := c.Search(ldap.NewSearchRequest(l.o.Base, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases,
		2, 0, false, l.filter.Fill(r, escape), l.wanted(), nil))
	if err != nil && !ldap.IsErrorAnyOf(err, ldap.LDAPResultSizeLimitExceeded) {
		return nil, answered(err, "the search for the client fails", "correct base and filter, or what bind_dn may read")
	}
	switch {
	case err != nil || len(found.Entries) > 1:
		return nil, &mistake{"the search finds more than one entry for the client", "correct filter, so that it finds one"}
	case len(found.Entries) == 0:
		return nil, nil
	default:
		return found.Entries[0], nil
	}
}

// wanted are the attributes of the client's entry that somebody asks about.
func (l *LDAP) wanted() []string {
	list := []string{"1.1"} // none (RFC 4511, section 4.5.1.8)
	for _, name := range append(slices.Sorted(maps.Values(l.o.Attributes)), l.o.UserAttribute, l.o.GroupAttribute) {
		if name != "" {
			list = append(list, name)
		}
	}
	if len(list) > 1 {
		list = list[1:]
	}
	return list
}

// grant reads what the directory knows of a client that is bound; entry is nil
// if it was not searched for.
func (l *LDAP) grant(c *conn, r *access.Request, dn string, entry *ldap.Entry) (g access.Grant, err error) {
	if entry == nil && l.wanted()[0] != "1.1" {
		if entry, err = l.own(c, dn); err != nil {
			return g, err
		}
	}
	if entry != nil {
		l.read(&g, r, entry)
	}
	if l.groupFilter == nil {
		return g, nil
	}
	return g, l.groups(c, r, dn, &g)
}

// own reads the entry of the client that is bound.
func (l *LDAP) own(c *conn, dn string) (*ldap.Entry, error) {
	const do = "let clients read their entry, or search with filter and bind_dn"
	found, err := c.Search(ldap.NewSearchRequest(dn, ldap.ScopeBaseObject, ldap.NeverDerefAliases,
		1, 0, false, "(objectClass=*)", l.wanted(), nil))
	if err != nil {
		return nil, answered(err, "the client may not read its entry", do)
	}
	if len(found.Entries) != 1 {
		return nil, &mistake{"the client may not read its entry", do}
	}
	return found.Entries[0], nil
}

// read takes over from the client's entry.
func (l *LDAP) read(g *access.Grant, r *access.Request, entry *ldap.Entry) {
	if l.o.UserAttribute != "" {
		g.UserName = spelling(r.UserName, entry.GetEqualFoldAttributeValues(l.o.UserAttribute))
	}
	for name, attribute := range l.o.Attributes {
		values := entry.GetEqualFoldAttributeValues(attribute)
		if len(values) == 0 {
			continue
		}
		if g.Attributes == nil {
			g.Attributes = map[string]string{}
		}
		g.Attributes[name] = values[0]
	}
	if l.o.GroupAttribute == "" {
		return
	}
	for _, value := range entry.GetEqualFoldAttributeValues(l.o.GroupAttribute) {
		l.join(g, value, "")
	}
}

// spelling is the name as the directory writes it, which has several where an
// entry has several names.
func spelling(name string, values []string) string {
	for _, value := range values {
		if strings.EqualFold(name, value) {
			return value
		}
	}
	if len(values) > 0 {
		return values[0]
	}
	return ""
}

// join adds a group by its distinguished name, and by its name if that is
// known.
func (l *LDAP) join(g *access.Grant, group, name string) {
	dn, err := ldap.ParseDN(group)
	if err == nil && l.superuser != nil && dn.EqualFold(l.superuser) {
		g.Superuser = true
	}
	if name == "" {
		name = group
		if err == nil && len(dn.RDNs) > 0 {
			name = dn.RDNs[0].Attributes[0].Value
		}
	}
	if !slices.Contains(g.Groups, name) {
		g.Groups = append(g.Groups, name)
	}
}

// maxGroups bounds the groups of one client.
const maxGroups = 1000

// groups searches for the client's groups.
func (l *LDAP) groups(c *conn, r *access.Request, dn string, g *access.Grant) error {
	if err := l.serve(c); err != nil {
		return err
	}
	filter := l.groupFilter.Join(func(name string) string {
		if name == "dn" {
			return escape(dn)
		}
		return escape(fill.Value(r, name))
	})
	found, err := c.Search(ldap.NewSearchRequest(l.o.GroupBase, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases,
		maxGroups, 0, false, filter, []string{l.o.GroupName}, nil))
	if err != nil {
		return answered(err, "the search for the client's groups fails", "correct group_base and group_filter, or what bind_dn may read")
	}
	for _, entry := range found.Entries {
		l.join(g, entry.DN, entry.GetEqualFoldAttributeValue(l.o.GroupName))
	}
	return nil
}
