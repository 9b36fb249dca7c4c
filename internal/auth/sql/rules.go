package sql

import (
	"context"

	"github.com/fantail-mqtt/fantail/internal/access"
)

// rules are the client's own.
func (s *SQL) rules(ctx context.Context, r *access.Request) (*access.Rules, error) {
	return nil, nil
}
