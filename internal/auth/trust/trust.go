// Package trust reads the PEM files that say by whose certificates a step knows
// its server, and by which the server knows the broker.
//
// A step reads them when it is made, and again when the owner has the broker
// reload: what was in force stays so until the new files are right.
package trust

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// Authorities are those in a file. The error is one sentence with the file, the
// cause and what to do.
func Authorities(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("the file cannot be read: let this user read it, or correct the path: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate: it has to be a PEM file with a CERTIFICATE block", file)
	}
	return pool, nil
}

// Identity is the broker's own certificate with its key.
func Identity(cert, key string) (tls.Certificate, error) {
	c, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return c, fmt.Errorf("%s and %s are no certificate with its key: give PEM files that belong together, and let this user read them: %w", cert, key, err)
	}
	return c, nil
}
