//go:build linux

package sql_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	database "database/sql"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/internal/auth"
	"github.com/fantail-mqtt/fantail/internal/auth/sql"
	"github.com/fantail-mqtt/fantail/internal/daemon"
)

// secret is the broker's password at the databases: no log may have it.
const secret = "s3cret/at:the@database"

// backend is a real database server.
type backend struct {
	*daemon.Daemon
	driver string
	dsn    string
	sleep  string // a query's condition that takes ten seconds
	cert   string // by which it is known over TLS
	db     *database.DB
}

// backends run for all tests of this package.
var backends []*backend

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	starting := make(chan *backend, 2)
	for _, start := range []func() (*backend, error){startPostgres, startMariaDB} {
		go func() { // both take seconds
			b, err := start()
			if err == nil {
				err = b.fill()
			}
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
			if err != nil && b != nil {
				_ = b.Close()
				b = nil
			}
			starting <- b
		}()
	}
	for range cap(starting) {
		b := <-starting
		if b == nil {
			continue
		}
		backends = append(backends, b)
		defer b.Close()
	}
	if len(backends) < cap(starting) {
		return 1
	}
	return m.Run()
}

func startPostgres() (*backend, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil || len(found) == 0 {
		return nil, errors.New("PostgreSQL is not there: run tools/setup")
	}
	bin := found[len(found)-1]
	d, err := daemon.New("postgres")
	if err != nil {
		return nil, err
	}
	b := &backend{Daemon: d, driver: sql.DriverPostgres, sleep: "pg_sleep(10) IS NOT NULL"}
	port, err := daemon.Port()
	if err != nil {
		return b, err
	}
	if err := errors.Join(d.Write("password", secret), d.Run("", bin+"/initdb", "--pgdata=data", "--username=fantail", "--pwfile=password",
		"--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions")); err != nil {
		return b, err
	}
	cert, key, err := newCertificate()
	if err := errors.Join(err, d.Write("data/server.crt", cert), d.Write("data/server.key", key)); err != nil {
		return b, err
	}
	b.cert = cert
	b.dsn = (&url.URL{
		Scheme: "postgres", User: url.UserPassword("fantail", secret), Host: "127.0.0.1:" + port, Path: "postgres", RawQuery: "sslmode=disable",
	}).String()
	if b.db, err = database.Open("pgx", b.dsn); err != nil {
		return b, err
	}
	return b, d.Start(syscall.SIGQUIT, b.db.Ping, bin+"/postgres", "-D", "data", "-p", port, "-k", d.Dir,
		"-c", "listen_addresses=127.0.0.1", "-c", "ssl=on", "-c", "fsync=off", "-c", "shared_buffers=8MB", "-c", "max_wal_senders=0")
}

// newCertificate makes one for 127.0.0.1, which has signed itself.
func newCertificate() (cert, key string, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return "", "", err
	}
	keyDER, err := x509.MarshalECPrivateKey(private)
	cert = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return cert, string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})), err
}

func startMariaDB() (*backend, error) {
	d, err := daemon.New("mysql")
	if err != nil {
		return nil, err
	}
	b := &backend{Daemon: d, driver: sql.DriverMySQL, sleep: "SLEEP(10) IS NOT NULL"}
	port, err := daemon.Port()
	if err != nil {
		return b, err
	}
	if err := errors.Join(
		d.Write("init.sql", "CREATE DATABASE IF NOT EXISTS mqtt CHARACTER SET utf8mb4;\n"+
			"CREATE USER IF NOT EXISTS fantail@'%' IDENTIFIED BY '"+secret+"';\nGRANT ALL ON mqtt.* TO fantail@'%';\n"),
		d.Run("", "mariadb-install-db", "--no-defaults", "--datadir="+d.Dir+"/data", "--auth-root-authentication-method=normal", "--skip-test-db"),
	); err != nil {
		return b, err
	}
	b.dsn = "fantail:" + secret + "@tcp(127.0.0.1:" + port + ")/mqtt?interpolateParams=true" // which has to have no effect
	if b.db, err = database.Open("mysql", b.dsn); err != nil {
		return b, err
	}
	return b, d.Start(syscall.SIGKILL, b.db.Ping, "/usr/sbin/mariadbd", "--no-defaults", "--datadir="+d.Dir+"/data", "--port="+port,
		"--bind-address=127.0.0.1", "--socket="+d.Dir+"/socket", "--pid-file="+d.Dir+"/pid", "--init-file="+d.Dir+"/init.sql",
		"--innodb-buffer-pool-size=8M", "--innodb-flush-log-at-trx-commit=2", "--skip-name-resolve")
}

// query is the one that most tests use.
const query = "SELECT password_hash, salt, is_superuser FROM users WHERE username = ${username}"

// strange is a user name that is all metacharacters, and allowed.
const strange = `o'Brien" -- \ %_ ; /* $1 ? ${clientid}` + "`"

// fill makes the tables.
func (b *backend) fill() error {
	for _, statement := range []string{
		`CREATE TABLE users (username VARCHAR(200) PRIMARY KEY, password_hash VARCHAR(200), salt VARCHAR(50), is_superuser BOOLEAN)`,
		`CREATE TABLE numbers (id INTEGER PRIMARY KEY, password_hash VARCHAR(200))`,
		`INSERT INTO numbers VALUES (7, 'pencil')`,
		`CREATE TABLE acl (username VARCHAR(200), permission VARCHAR(10), action VARCHAR(20), topic VARCHAR(200), qos VARCHAR(10), retain VARCHAR(10))`,
	} {
		if _, err := b.db.Exec(statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	insert := `INSERT INTO users VALUES (` + map[string]string{sql.DriverPostgres: "$1,$2,$3,$4", sql.DriverMySQL: "?,?,?,?"}[b.driver] + `)`
	for _, row := range [][]any{
		{"ann", "pencil", "pepper", false},
		{"root", "pencil", nil, true},
		{strange, "pencil", nil, nil},
		{"empty", "", nil, nil},
		{"none", nil, nil, nil},
	} {
		if _, err := b.db.Exec(insert, row...); err != nil {
			return err
		}
	}
	_, err := b.db.Exec(`INSERT INTO acl VALUES
		('ann', 'deny', 'all', 'a/#', NULL, NULL), ('ann', 'allow', 'subscribe', 'b/+', '', 'all'),
		('ann', 'allow', 'publish, subscribe', 'c/${clientid}/#', NULL, NULL),
		('ann', 'allow', 'publish', 'd', '0,1', NULL), ('ann', 'deny', 'publish', 'e', NULL, 'true')`)
	return err
}

// each runs a test with each database.
func each(t *testing.T, test func(t *testing.T, b *backend)) {
	for _, b := range backends {
		t.Run(b.driver, func(t *testing.T) { test(t, b) })
	}
}

// step makes a step that asks the database; change may be nil.
func (b *backend) step(t *testing.T, change func(*sql.Options)) *sql.SQL {
	t.Helper()
	o := sql.Options{Driver: b.driver, DSN: b.dsn, Query: query, Hash: "plain", Logger: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&o)
	}
	s, err := sql.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// as is the request of a user.
func as(user, password string) *access.Request {
	return &access.Request{UserName: user, HasUserName: true, Password: []byte(password), HasPassword: true, ClientID: "c-1"}
}

func check(t *testing.T, s *sql.SQL, r *access.Request) auth.Answer {
	t.Helper()
	a := s.Check(t.Context(), r)
	if a.Why == "" {
		t.Error("the answer says nothing")
	}
	return a
}
