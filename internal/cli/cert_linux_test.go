package cli_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/fantail-mqtt/fantail"
)

// What cert dev prints is a configuration, and with what it has made
// mosquitto's client comes in.
func TestDevelopmentCertificatesServeMosquittosClients(t *testing.T) {
	dir := t.TempDir()
	certs := filepath.Join(dir, "my certs") // which YAML and the shell have to be told of
	pub := foreign(t, "mosquitto_pub", "mosquitto-clients")
	for name, c := range map[string]struct {
		clients []string
		ok      []string // of the client's certificate
		refused []string
	}{
		"server only":    {nil, []string{""}, nil},
		"client needed":  {[]string{"porch", "garage"}, []string{"porch", "garage"}, []string{""}},
		"one more later": {[]string{"shed"}, []string{"shed", "porch"}, []string{""}},
	} {
		t.Run(name, func(t *testing.T) {
			certs := certs
			if name == "server only" {
				certs += " too"
			}
			args := []string{"cert", "dev", "--dir", certs, "--host", "mqtt.example.org"}
			for _, c := range c.clients {
				args = append(args, "--client", c)
			}
			if name == "one more later" { // the authority is kept, so porch's still counts
				fantailRuns(t, "", "cert", "dev", "--dir", certs, "--client", "porch")
			}
			text, _ := fantailRuns(t, "", args...)
			path := filepath.Join(dir, "fantail.yaml")
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			conf, err := fantail.LoadConfig(path)
			if err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			secure := conf.Listeners[1]
			secure.Address = "127.0.0.1:0"
			port := run(t, fantail.Config{Listeners: []fantail.Listener{secure}})[0]
			connect := func(host, client string) error {
				args := []string{"-h", host, "-p", strconv.Itoa(port), "--cafile", filepath.Join(certs, "ca.pem"), "-t", "a", "-m", "x", "-q", "1"}
				if client != "" {
					file := filepath.Join(certs, "client-"+client)
					args = append(args, "--cert", file+".pem", "--key", file+".key")
				}
				return theirs(t, pub, args...)
			}
			for _, client := range c.ok {
				for _, host := range []string{"localhost", "127.0.0.1"} {
					if err := connect(host, client); err != nil {
						t.Errorf("to %s with the certificate %q: %v", host, client, err)
					}
				}
			}
			for _, client := range c.refused {
				if connect("localhost", client) == nil {
					t.Errorf("the certificate %q lets in", client)
				}
			}
			for _, want := range []string{"mqtt.example.org", "# ", "mosquitto_pub -h localhost -p 8883 --cafile '" + certs + "/ca.pem'"} {
				if !strings.Contains(text, want) {
					t.Errorf("it does not print %q:\n%s", want, text)
				}
			}
		})
	}
}
