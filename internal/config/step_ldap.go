package config

import (
	"strings"
	"time"
)

// StepLDAP asks a directory about clients, by binding as the client.
type StepLDAP struct {
	// URL begins with ldap:// or ldaps://.
	URL string `yaml:"url"`
	// StartTLS encrypts a connection to an ldap URL.
	StartTLS bool `yaml:"start_tls"`
	// CA has who signed the directory's certificate. Empty: the system's.
	CA string `yaml:"ca"`
	// DN is the client's name in the directory. Empty: Filter finds it below
	// Base, as BindDN, or as nobody if that is empty.
	DN           string `yaml:"dn"`
	BindDN       string `yaml:"bind_dn"`
	BindPassword string `yaml:"bind_password"`
	Base         string `yaml:"base"`
	Filter       string `yaml:"filter"`
	// UserAttribute has the user name as the directory writes it. Empty: as the
	// client writes it.
	UserAttribute string `yaml:"user_attribute"`
	// GroupAttribute of the client's entry has its groups; GroupFilter finds them
	// below GroupBase, each named by GroupName. Empty: no groups, and cn.
	GroupAttribute string `yaml:"group_attribute"`
	GroupBase      string `yaml:"group_base"`
	GroupFilter    string `yaml:"group_filter"`
	GroupName      string `yaml:"group_name"`
	// SuperuserGroup is the DN of the group whose members may do everything.
	SuperuserGroup string `yaml:"superuser_group"`
	// Attributes are those of the client, each with that of the entry.
	Attributes map[string]string `yaml:"attributes"`
	// Timeout bounds what a client may cost. 0: 5s.
	Timeout time.Duration `yaml:"timeout"`
	// Connections are open to the directory at most. 0: 16.
	Connections int `yaml:"connections"`
	// Failures in a row leave the directory alone for Rest. 0: 5, and 5s.
	Failures int           `yaml:"failures"`
	Rest     time.Duration `yaml:"rest"`
}

// String hides the password from logs.
func (s *StepLDAP) String() string { return s.URL }

// eachFile visits the names of files.
func (s *StepLDAP) eachFile(visit func(name *string)) {
	if s != nil {
		visit(&s.CA)
	}
}

func (k *check) ldap(key string, s *StepLDAP) {
	if s == nil {
		return
	}
	key += ".ldap"
	secure := strings.HasPrefix(s.URL, "ldaps://")
	switch {
	case s.URL == "":
		k.add(key+".url", "is missing: write a URL such as ldaps://directory.example.org")
	case !secure && !strings.HasPrefix(s.URL, "ldap://"):
		k.add(key+".url", "begins with neither ldaps:// nor ldap://")
	case secure && s.StartTLS:
		k.add(key+".start_tls", "means nothing here: an ldaps URL begins with TLS")
	case s.CA != "" && !secure && !s.StartTLS:
		k.add(key+".ca", "means nothing here: nothing is encrypted without start_tls or an ldaps URL")
	}
	k.placeholders(key+".dn", s.DN, clientPlaceholders()...)
	k.placeholders(key+".filter", s.Filter, clientPlaceholders()...)
	k.placeholders(key+".group_filter", s.GroupFilter, append(clientPlaceholders(), "dn")...)
	switch {
	case s.DN == "" && s.Filter == "":
		k.add(key+".dn", "is missing: write dn, or base and filter, to say who a client is in the directory")
	case s.DN != "" && s.Filter != "":
		k.add(key+".filter", "means nothing beside dn: leave one of them out")
	case !strings.Contains(s.DN+s.Filter, "${"):
		k.add(key+".dn", "has no placeholder such as ${username}, so it says the same of every client")
	}
	if s.Filter != "" && s.Base == "" {
		k.add(key+".base", "is missing: it says where filter is looked for")
	}
	if s.GroupFilter != "" && s.GroupBase == "" {
		k.add(key+".group_base", "is missing: it says where group_filter is looked for")
	}
	if s.BindDN != "" && s.BindPassword == "" {
		k.add(key+".bind_password", "is missing: without one, bind_dn is nobody")
	}
	if s.SuperuserGroup != "" && s.GroupAttribute == "" && s.GroupFilter == "" {
		k.add(key+".superuser_group", "is of use only with group_attribute or group_filter, which say what groups a client is in")
	}
	k.backend(key, s.Timeout, s.Connections, s.Failures, s.Rest)
}
