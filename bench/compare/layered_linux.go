package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/fantail-mqtt/fantail/bench/broker"
	"github.com/fantail-mqtt/fantail/client"
	"github.com/fantail-mqtt/fantail/internal/load"
)

// What an idle connection may go over. Only Fantail is measured so: it takes
// both on the port on which it is asked whether it is there.
const (
	overWebSocket = "ws"
	overTLS       = "tls"
)

// layers are the ways in which the brokers are measured beyond plain TCP.
func layers(brokers []broker.Kind) []string {
	if slices.ContainsFunc(brokers, layered) {
		return []string{overWebSocket, overTLS}
	}
	return nil
}

func layered(k broker.Kind) bool { return k.Name == fantailName }

// measureLayered opens idle connections over WebSocket or TLS to a fresh broker.
func measureLayered(ctx context.Context, k broker.Kind, over string, idle load.Idle) (result *load.IdleResult, err error) {
	dir, err := os.MkdirTemp("", "bench-cert-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if over == overTLS {
		if err := writeCertificate(dir); err != nil {
			return nil, err
		}
		k.Argv = slices.Clone(k.Argv)
		for i, word := range k.Argv {
			k.Argv[i] = strings.Replace(word, ":{port}", ":{port}?cert="+dir+"/cert.pem&key="+dir+"/key.pem", 1)
		}
	}
	err = with(ctx, k, func(to load.Target) error {
		to.Dial = dialOver(over, to)
		result, err = load.RunIdle(ctx, to, idle)
		return err
	})
	return result, err
}

// dialOver opens connections over a layer, from several addresses: one has not
// ports enough.
func dialOver(over string, to load.Target) func(context.Context) (net.Conn, error) {
	var n atomic.Uint32
	return func(ctx context.Context) (net.Conn, error) {
		from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+n.Add(1)%4))}}
		o := client.Options{NetDial: from.DialContext}
		switch over {
		case overTLS:
			o.URL, o.TLS = "mqtts://"+to.Addr.String(), &tls.Config{InsecureSkipVerify: true} // it is our own, of a minute ago
		default:
			o.URL = "ws://" + to.Addr.String() + "/mqtt"
		}
		return client.Open(ctx, o)
	}
}

// writeCertificate makes a certificate with its key that nobody checks.
func writeCertificate(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour), DNSNames: []string{"localhost"}}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "cert.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o600),
		os.WriteFile(filepath.Join(dir, "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}), 0o600))
}
