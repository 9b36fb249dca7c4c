package fantail

import (
	"cmp"

	"github.com/fantail-mqtt/fantail/internal/auth"
	"github.com/fantail-mqtt/fantail/internal/auth/cert"
	"github.com/fantail-mqtt/fantail/internal/auth/grant"
	"github.com/fantail-mqtt/fantail/internal/auth/http"
	"github.com/fantail-mqtt/fantail/internal/auth/jwt"
	"github.com/fantail-mqtt/fantail/internal/auth/ldap"
	"github.com/fantail-mqtt/fantail/internal/auth/sql"
	"github.com/fantail-mqtt/fantail/internal/config"
)

func (b *Broker) stepJWT(s *config.StepJWT) (*jwt.JWT, error) {
	o := jwt.Options{
		FromUserName: s.From == config.TokenFromUserName, Secret: s.Key(), PublicKey: s.PublicKey,
		Algorithms: s.Algorithms, Issuer: s.Issuer, Audience: s.Audience, Leeway: s.Leeway, Claims: s.Claims,
		Grant: grant.Names{
			UserName: s.UserClaim, ClientID: s.ClientClaim, Superuser: s.SuperuserClaim, Groups: s.GroupsClaim,
			Attributes: s.AttributesClaim, Limits: s.LimitsClaim, Rules: cmp.Or(s.ACLClaim, "acl"),
		},
		StayAfterExp: s.StayAfterExp, Logger: forwardLog(b),
	}
	if s.JWKS != "" {
		o.JWKS = &jwt.JWKS{URL: s.JWKS, Refresh: s.JWKSRefresh, Keep: s.JWKSKeep, CA: s.JWKSCA, AllowHTTP: s.JWKSHTTP}
	}
	return jwt.New(o)
}

func (b *Broker) stepHTTP(s *config.StepHTTP) (*http.HTTP, error) {
	headers := make(map[string]string, len(s.Headers))
	for name, text := range s.Headers {
		headers[name] = string(text)
	}
	return http.New(http.Options{
		URL: s.URL, Method: s.Method, Headers: headers, Body: s.Body, Form: s.Format == config.FormatForm,
		Timeout: s.Timeout, Connections: s.Connections, Failures: s.Failures, Rest: s.Rest,
		CA: s.CA, Cert: s.Cert, Key: s.Key, Cache: s.Cache, CacheSize: s.CacheSize, Logger: forwardLog(b),
	})
}

func (b *Broker) stepSQL(g *gate) func(s *config.StepSQL) (*sql.SQL, error) {
	return func(s *config.StepSQL) (*sql.SQL, error) {
		return sql.New(sql.Options{
			Driver: s.Driver, DSN: s.DSN, Query: s.Query, AccessQuery: s.ACLQuery, Hash: s.Hash, SaltPosition: s.SaltPosition, Pool: g.hashes,
			Timeout: s.Timeout, Connections: s.Connections, ConnectionLifetime: s.ConnectionLifetime, Failures: s.Failures, Rest: s.Rest,
			Logger: forwardLog(b),
		})
	}
}

func (b *Broker) stepLDAP(s *config.StepLDAP) (auth.Step, error) {
	return ldap.New(ldap.Options{
		URL: s.URL, StartTLS: s.StartTLS, CA: s.CA, DN: s.DN, BindDN: s.BindDN, BindPassword: s.BindPassword, Base: s.Base, Filter: s.Filter,
		UserAttribute: s.UserAttribute, GroupAttribute: s.GroupAttribute, GroupBase: s.GroupBase, GroupFilter: s.GroupFilter,
		GroupName: s.GroupName, SuperuserGroup: s.SuperuserGroup, Attributes: s.Attributes,
		Timeout: s.Timeout, Connections: s.Connections, Failures: s.Failures, Rest: s.Rest, Logger: forwardLog(b),
	})
}

func stepCertificate(s *config.StepCertificate) (auth.Step, error) {
	return cert.New(cert.Options{User: s.User, ClientID: s.ClientID})
}
