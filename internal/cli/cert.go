package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fantail-mqtt/fantail/internal/devca"
)

func certCommand(e *env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cert COMMAND",
		Short: "Make certificates for TLS",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return misuse("unknown command %q for %q", args[0], cmd.CommandPath())
			}
			return cmd.Help()
		},
	}
	cmd.AddCommand(certDevCommand(e))
	return cmd
}

// certDev is an authority of one's own, and what it signs.
type certDev struct {
	dir            string
	hosts, clients []string
}

func certDevCommand(e *env) *cobra.Command {
	var c certDev
	cmd := &cobra.Command{
		Use:   "dev [--dir DIR] [--host NAME]... [--client NAME]...",
		Short: "Make a local authority with certificates for this machine and its clients",
		Long: "Makes a certificate authority in the directory, or takes the one that is there, and has it sign a certificate for a server\n" +
			"on this machine (localhost, the name and the addresses of the machine, and each --host) and one for each --client. What it\n" +
			"prints is a configuration with TLS, and in its comments what to type to try it. It is for trials and for a network of one's\n" +
			"own: who has " + caKey + " can pretend to be any server towards those who trust " + caCert + ".",
		Example: "  fantail cert dev > fantail.yaml\n" +
			"  fantail cert dev --host mqtt.example.org --client porch --client garage",
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error { return c.run(e, time.Now()) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&c.dir, "dir", "certs", "keep all in `DIR`")
	f.StringArrayVar(&c.hosts, "host", nil, "clients also reach the server under `NAME`, which may be an address; may be repeated")
	f.StringArrayVar(&c.clients, "client", nil, "make a certificate for the client `NAME`, too; may be repeated")
	return cmd
}

const (
	caCert, caKey         = "ca.pem", "ca.key"
	serverCert, serverKey = "server.pem", "server.key"
)

func (c *certDev) run(e *env, now time.Time) error {
	for _, h := range c.hosts {
		if err := devca.CheckHost(h); err != nil {
			return misuse("--host: %w", err)
		}
	}
	for i, name := range c.clients {
		if err := devca.CheckClient(name); err != nil {
			return misuse("--client: %w", err)
		}
		if slices.Contains(c.clients[:i], name) {
			return misuse("--client %s is given twice", name)
		}
	}
	hosts, err := c.make(e, now)
	if err != nil {
		return &status{exitFailed, fmt.Errorf("make certificates: %w", err)}
	}
	c.tell(e, hosts)
	return nil
}

// make writes all files.
func (c *certDev) make(e *env, now time.Time) (hosts []string, err error) {
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return nil, err
	}
	a, err := c.authority(e, now)
	if err != nil {
		return nil, err
	}
	hostname, err := os.Hostname()
	if err != nil {
		hostname = "" // the certificate does without
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		addrs = nil
	}
	hosts = devca.Hosts(hostname, addrs, c.hosts)
	pair, err := a.Server(hosts, now)
	if err != nil {
		return nil, err
	}
	if err := c.write(serverCert, serverKey, pair); err != nil {
		return nil, err
	}
	for _, name := range c.clients {
		if pair, err = a.Client(name, now); err != nil {
			return nil, err
		}
		if err := c.write(clientCert(name), clientKey(name), pair); err != nil {
			return nil, err
		}
	}
	return hosts, nil
}

func clientCert(name string) string { return "client-" + name + ".pem" }
func clientKey(name string) string  { return "client-" + name + ".key" }

// authority is the one in the directory. Where a part of one is, none is made:
// those who trust the old one would be cut off.
func (c *certDev) authority(e *env, now time.Time) (*devca.Authority, error) {
	cert, certErr := os.ReadFile(c.path(caCert))
	key, keyErr := os.ReadFile(c.path(caKey))
	if errors.Is(certErr, fs.ErrNotExist) && errors.Is(keyErr, fs.ErrNotExist) {
		a, pair, err := devca.New("Fantail development CA "+now.UTC().Format("2006-01-02 15:04:05"), now)
		if err != nil {
			return nil, err
		}
		e.say("a new authority: %s, until %s", c.path(caCert), a.Until().Format(time.DateOnly))
		return a, c.write(caCert, caKey, pair)
	}
	err := errors.Join(certErr, keyErr)
	if err == nil {
		var a *devca.Authority
		if a, err = devca.Read(devca.Pair{Cert: cert, Key: key}, now); err == nil {
			return a, nil
		}
	}
	return nil, fmt.Errorf("the authority in %s cannot be used: %w: remove %s and %s to begin a new one", c.dir, err, caCert, caKey)
}

func (c *certDev) path(name string) string { return filepath.Join(c.dir, name) }

// write writes the key before the certificate. Nobody else may read the key,
// also where another was there that they could.
func (c *certDev) write(cert, key string, p devca.Pair) error {
	if err := os.Chmod(c.path(key), 0o600); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := replaceFile(c.path(key), p.Key); err != nil {
		return err
	}
	if err := replaceFile(c.path(cert), p.Cert); err != nil {
		return err
	}
	return os.Chmod(c.path(cert), 0o644)
}

// tell prints a configuration whose comments say what to do with it.
func (c *certDev) tell(e *env, hosts []string) {
	line := func(format string, args ...any) { fmt.Fprintf(e.stdout, format+"\n", args...) }
	ca := shellWord(c.path(caCert))
	line("# Clients trust %s, and reach the server as one of:", c.path(caCert))
	line("# %s", strings.Join(hosts, ", "))
	line("listeners:")
	line("  - tcp://0.0.0.0:1883")
	line("  - url: tls://0.0.0.0:8883")
	line("    cert: %s", yamlWord(c.path(serverCert)))
	line("    key: %s", yamlWord(c.path(serverKey)))
	if len(c.clients) > 0 {
		line("    client_ca: %s", yamlWord(c.path(caCert)))
		line("    client_cert: require")
	}
	line("  - http://127.0.0.1:18083")
	line("# With this in fantail.yaml, in this folder:")
	line("#   fantail server --config fantail.yaml")
	if len(c.clients) == 0 {
		line("#   mosquitto_pub -h localhost -p 8883 --cafile %s -t test -m hello", ca)
	}
	for _, name := range c.clients {
		line("#   mosquitto_pub -h localhost -p 8883 --cafile %s --cert %s --key %s -t test -m hello",
			ca, shellWord(c.path(clientCert(name))), shellWord(c.path(clientKey(name))))
	}
	line("# Another machine needs %s (never %s), an account, and a name or address from above.", caCert, caKey)
}

// plainWord says whether YAML and shells take the text as it is.
func plainWord(text string) bool {
	return text != "" && text[0] != '-' && text[0] != '~' &&
		strings.Trim(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._/@+") == ""
}

func shellWord(text string) string {
	if plainWord(text) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

func yamlWord(text string) string {
	if plainWord(text) && text[0] != '@' {
		return text
	}
	return strconv.Quote(text)
}
