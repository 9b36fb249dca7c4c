package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fantail-mqtt/fantail/bench/broker"
	"github.com/fantail-mqtt/fantail/internal/load"
	"github.com/fantail-mqtt/fantail/packet"
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

func layered(k broker.Kind) bool { return k.Name == "fantail" }

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
		c := layeredCrowd{over: over, to: to}
		result, err = c.measure(ctx, idle)
		return errors.Join(err, c.close())
	})
	return result, err
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

// layeredCrowd is a set of idle connections over a layer.
type layeredCrowd struct {
	over  string
	to    load.Target
	conns []net.Conn
}

const layeredAtOnce = 16 // handshakes in flight

func (c *layeredCrowd) measure(ctx context.Context, idle load.Idle) (*load.IdleResult, error) {
	if _, err := load.RaiseFileLimit(); err != nil {
		return nil, err
	}
	r := &load.IdleResult{Connections: idle.Connections}
	var err error
	if r.Empty, err = load.RSS(c.to.PID); err != nil {
		return nil, err
	}
	before, err := load.CPU(c.to.PID)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	if err := c.open(ctx, idle.Connections); err != nil {
		return nil, err
	}
	r.Elapsed = time.Since(start)
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(idle.Settle):
	}
	after, err := load.CPU(c.to.PID)
	if err != nil {
		return nil, err
	}
	r.BrokerCPU = after - before
	r.Full, err = load.RSS(c.to.PID)
	return r, err
}

// open opens n connections.
func (c *layeredCrowd) open(ctx context.Context, n int) error {
	c.conns = make([]net.Conn, n)
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var done sync.WaitGroup
	for first := range layeredAtOnce {
		done.Go(func() {
			for i := first; i < n && ctx.Err() == nil; i += layeredAtOnce {
				if err := c.join(ctx, i); err != nil {
					stop(fmt.Errorf("connection %d over %s: %w", i, c.over, err))
				}
			}
		})
	}
	done.Wait()
	return context.Cause(ctx)
}

// join opens connection i, and has its client accepted.
func (c *layeredCrowd) join(ctx context.Context, i int) error {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+i%4))}}
	nc, err := d.DialContext(ctx, "tcp", c.to.Addr.String())
	if err != nil {
		return err
	}
	if c.over == overTLS {
		nc = tls.Client(nc, &tls.Config{InsecureSkipVerify: true}) // it is our own, of a minute ago
	}
	c.conns[i] = nc
	in := bufio.NewReaderSize(nc, 512)
	out := packet.AppendConnect(nil, &packet.Connect{
		Version: packet.V311, ClientID: fmt.Sprintf("idle-%06d", i), CleanStart: true, KeepAlive: 1200,
	})
	answer := 4 // CONNACK
	if c.over == overWebSocket {
		if err := upgrade(nc, in); err != nil {
			return err
		}
		out = append([]byte{0x82, 0x80 | byte(len(out)), 0, 0, 0, 0}, out...) // masked with zeros
		answer += 2
	}
	if _, err := nc.Write(out); err != nil {
		return err
	}
	_, err = io.ReadFull(in, make([]byte, answer))
	return err
}

// upgrade asks for a WebSocket.
func upgrade(out io.Writer, in *bufio.Reader) error {
	_, err := io.WriteString(out, "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n")
	if err != nil {
		return err
	}
	answer, err := http.ReadResponse(in, nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("the upgrade was answered with %s", answer.Status)
	}
	return nil
}

func (c *layeredCrowd) close() error {
	var errs []error
	for _, nc := range c.conns {
		switch nc := nc.(type) {
		case nil:
		case *tls.Conn:
			errs = append(errs, nc.NetConn().Close())
		default:
			errs = append(errs, nc.Close())
		}
	}
	return errors.Join(errs...)
}
