package listen

import (
	"crypto/tls"
	"fmt"
	"time"
)

// Vouched is a client's certificate as far as it can be revoked: what a list
// would have of it and of the authorities in between, on each way to a known
// one. It outlives the handshake, and is small.
type Vouched struct {
	certs *certificates
	ways  [][]issued
}

// issued is a certificate as a revocation list names it.
type issued struct {
	by     authority
	serial string // in hexadecimal
}

// vouch is the certificate that a client has shown; nil if there is none, or no
// list.
func (cs *certificates) vouch(state *tls.ConnectionState) *Vouched {
	if len(state.VerifiedChains) == 0 || cs.revoked.Load() == nil {
		return nil
	}
	v := &Vouched{certs: cs}
	for _, chain := range state.VerifiedChains {
		way := make([]issued, 0, len(chain)-1)
		for i, c := range chain[:len(chain)-1] {
			way = append(way, issued{authorityOf(chain[i+1]), c.SerialNumber.Text(16)})
		}
		v.ways = append(v.ways, way)
	}
	return v
}

// Fault says that the certificate is on the list as it is now. One way that is
// not cut is enough. That a list is missing, or has expired, keeps clients from
// coming in; it sends nobody away.
func (v *Vouched) Fault() (why string) {
	r := v.certs.revoked.Load()
	if r == nil {
		return ""
	}
	for _, way := range v.ways {
		if why = r.cut(way); why == "" {
			return ""
		}
	}
	return why
}

func (r *revocations) cut(way []issued) string {
	for _, c := range way {
		list := r.of(c.by)
		if list == nil {
			continue
		}
		if at, is := list.serials[c.serial]; is {
			return fmt.Sprintf("the certificate with the serial %s of %s was revoked on %s", c.serial, list.issuer.Subject, at.UTC().Format(time.DateOnly))
		}
	}
	return ""
}
