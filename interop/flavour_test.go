package interop

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// flavour is a foreign client in a version of the protocol.
type flavour struct {
	name       string
	version    int // as in CONNECT: 3 is 3.1, 4 is 3.1.1
	transport  string
	transports []string // others that it can
	// lazy clients connect at their first Subscribe or Publish, and show
	// nothing of the CONNACK.
	lazy bool
	// deaf clients do not show the code of the broker's DISCONNECT.
	deaf bool
	open func(t *testing.T) client
}

// flavours returns every client in the versions that it speaks, of those
// which are asked for. It builds and finds what they need.
func flavours(t *testing.T, versions ...int) []flavour {
	t.Helper()
	python := findPython(t)
	node := findNode(t)
	c := buildC(t)
	all := []string{"mqtts", "ws", "wss"}
	families := []struct {
		flavour
		versions []int
	}{
		{flavour{name: "mosquitto_pub-sub", transports: []string{"mqtts"}, lazy: true, deaf: true, open: func(t *testing.T) client { return newTools(t) }}, []int{3, 4, 5}},
		{flavour{name: "python-paho", transports: all, deaf: true, open: func(t *testing.T) client { return newDriver(t, python, "py/driver.py") }}, []int{3, 4, 5}},
		{flavour{name: "MQTT.js", transports: all, open: func(t *testing.T) client { return newDriver(t, node, "js/driver.js") }}, []int{3, 4, 5}},
		{flavour{name: "libpaho-mqtt", transports: all, open: func(t *testing.T) client { return newDriver(t, c) }}, []int{3, 4, 5}},
		{flavour{name: "paho.mqtt.golang", transports: all, open: func(*testing.T) client { return new(go3Client) }}, []int{3, 4}},
		{flavour{name: "paho.golang", transports: all, open: func(*testing.T) client { return newGoClient() }}, []int{5}},
		{flavour{name: "MQTT.js-ws", transport: "ws", open: func(t *testing.T) client { return newDriver(t, node, "js/driver.js") }}, []int{3, 4, 5}},
	}
	spelled := map[int]string{3: "3.1", 4: "3.1.1", 5: "5.0"}
	var found []flavour
	for _, version := range versions {
		for _, family := range families {
			for _, spoken := range family.versions {
				if spoken != version {
					continue
				}
				f := family.flavour
				f.version = version
				f.name += "-" + spelled[version]
				if f.transport == "" {
					f.transport = "mqtt"
				}
				found = append(found, f)
			}
		}
	}
	return found
}

// find returns the first program that exists. A missing one is a failure, not
// a skip: a test that did not run must not look as one that passed.
func find(t *testing.T, debianPackage string, programs ...string) string {
	t.Helper()
	for _, p := range programs {
		if file, err := exec.LookPath(p); err == nil {
			return file
		}
	}
	t.Fatalf("%s is missing: apt-get install %s (make test does it)", strings.Join(programs, " or "), debianPackage)
	return ""
}

// findPython returns Debian's own Python, which alone sees Debian's modules.
func findPython(t *testing.T) string {
	t.Helper()
	python := find(t, "python3", "/usr/bin/python3")
	if out, err := exec.Command(python, "-c", "import paho.mqtt.client").CombinedOutput(); err != nil {
		t.Fatalf("the Python module paho.mqtt is missing: apt-get install python3-paho-mqtt (make test does it): %s", out)
	}
	return python
}

func findNode(t *testing.T) string {
	t.Helper()
	node := find(t, "nodejs", "node", "nodejs")
	if _, err := os.Stat("js/node_modules/mqtt/package.json"); err != nil {
		t.Fatalf("the npm package mqtt is missing: npm ci in interop/js (make test does it): %v", err)
	}
	return node
}

// buildC compiles the driver around libpaho-mqtt.
func buildC(t *testing.T) string {
	t.Helper()
	cc := find(t, "gcc", "cc")
	if _, err := os.Stat("/usr/include/MQTTClient.h"); err != nil {
		t.Fatalf("the library libpaho-mqtt is missing: apt-get install libpaho-mqtt-dev (make test does it): %v", err)
	}
	program := filepath.Join(t.TempDir(), "client")
	build := exec.Command(cc, "-std=c11", "-Wall", "-Wextra", "-o", program, "c/client.c", "c/json.c", "-lpaho-mqtt3cs", "-lpthread")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("compile c/client.c: %v\n%s", err, out)
	}
	return program
}
