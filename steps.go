package fantail

import (
	"cmp"

	"github.com/fantail-mqtt/fantail/internal/auth/grant"
	"github.com/fantail-mqtt/fantail/internal/auth/http"
	"github.com/fantail-mqtt/fantail/internal/auth/jwt"
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
		StayAfterExp: s.StayAfterExp, Logger: b.logger,
	}
	if s.JWKS != "" {
		o.JWKS = &jwt.JWKS{URL: s.JWKS, Refresh: s.JWKSRefresh, Keep: s.JWKSKeep, CA: s.JWKSCA, AllowHTTP: s.JWKSHTTP}
	}
	return jwt.New(o)
}

func (b *Broker) stepHTTP(s *config.StepHTTP) (*http.HTTP, error) {
	return http.New(http.Options{
		URL: s.URL, Method: s.Method, Headers: s.Headers, Body: s.Body, Form: s.Format == config.FormatForm,
		Timeout: s.Timeout, Connections: s.Connections, Failures: s.Failures, Rest: s.Rest,
		CA: s.CA, Cert: s.Cert, Key: s.Key, Cache: s.Cache, CacheSize: s.CacheSize, Logger: b.logger,
	})
}
