package cli_test

import (
	"encoding/json"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/fantail-mqtt/fantail"
	"github.com/fantail-mqtt/fantail/internal/cli"
	"github.com/fantail-mqtt/fantail/packet"
)

// meddler stands between the clients and a broker and changes what the broker
// sends.
type meddler struct {
	t      *testing.T
	broker string
	meddle func(f packet.Frame, whole []byte) [][]byte // one connection at a time

	mu       sync.Mutex
	sessions sync.WaitGroup
}

// meddling starts one, and returns its port.
func meddling(t *testing.T, broker int, meddle func(packet.Frame, []byte) [][]byte) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &meddler{t: t, broker: net.JoinHostPort("127.0.0.1", strconv.Itoa(broker)), meddle: meddle}
	m.sessions.Go(func() { // ends with the listener
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			m.sessions.Go(func() { m.serve(conn) }) // ends with the client
		}
	})
	t.Cleanup(func() {
		l.Close()
		m.sessions.Wait()
	})
	return l.Addr().(*net.TCPAddr).Port
}

func (m *meddler) serve(client net.Conn) {
	defer client.Close()
	broker, err := net.Dial("tcp", m.broker)
	if err != nil {
		m.t.Error(err)
		return
	}
	var there sync.WaitGroup
	there.Go(func() { // ends with the client's side
		_, _ = io.Copy(broker, client)
		broker.Close()
	})
	defer there.Wait()
	var had []byte
	b := make([]byte, 64<<10)
	for {
		n, err := broker.Read(b)
		if err != nil {
			client.Close()
			return
		}
		had = append(had, b[:n]...)
		for {
			f, size, err := packet.Split(had, packet.MaxLength)
			if err != nil || size == 0 {
				break
			}
			m.mu.Lock()
			out := m.meddle(f, had[:size:size])
			m.mu.Unlock()
			for _, p := range out {
				_, _ = client.Write(p)
			}
			had = had[size:]
		}
	}
}

// nth hands the nth PUBLISH of all connections to change; all else passes.
func nth(n int, change func(whole []byte) [][]byte) func(packet.Frame, []byte) [][]byte {
	seen := 0
	return func(f packet.Frame, whole []byte) [][]byte {
		if f.Type == packet.PUBLISH {
			seen++
			if seen == n {
				return change(whole)
			}
		}
		return [][]byte{whole}
	}
}

// swapped holds a PUBLISH back behind the next one.
func swapped(n int) func(packet.Frame, []byte) [][]byte {
	var held []byte
	seen := 0
	return func(f packet.Frame, whole []byte) [][]byte {
		if f.Type != packet.PUBLISH {
			return [][]byte{whole}
		}
		seen++
		switch seen {
		case n:
			held = append([]byte(nil), whole...)
			return nil
		case n + 1:
			return [][]byte{whole, held}
		}
		return [][]byte{whole}
	}
}

// benched runs fantail bench and returns its status and its JSON.
func benched(t *testing.T, args ...string) (code int, figures map[string]any, said string) {
	t.Helper()
	var out, errs strings.Builder
	code = cli.Main(append([]string{"fantail", "bench"}, append(args, "--json", "-")...), strings.NewReader(""), &out, &errs)
	if out.Len() > 0 {
		if err := json.Unmarshal([]byte(out.String()), &figures); err != nil {
			t.Fatalf("%v in %s", err, out.String())
		}
	}
	return code, figures, errs.String()
}

func TestWhatABrokerDoesWrongIsToldApart(t *testing.T) {
	port := run(t, fantail.Config{}, "tcp://127.0.0.1:0")[0]
	drop := func([]byte) [][]byte { return nil }
	twice := func(b []byte) [][]byte { return [][]byte{b, b} }
	damage := func(b []byte) [][]byte {
		c := append([]byte(nil), b...)
		c[len(c)-1] ^= 1
		return [][]byte{c}
	}
	cases := map[string]struct {
		meddle func(packet.Frame, []byte) [][]byte
		args   string
		code   int
		figure string // counts 1
	}{
		"nothing wrong":                   {nth(0, nil), "pairs", 0, ""},
		"one is lost":                     {nth(30, drop), "pairs", 4, "lost"},
		"one is lost, which is allowed":   {nth(30, drop), "pairs --allow-loss", 0, "lost"},
		"one is lost in the open loop":    {nth(20, drop), "pairs --rate 500", 4, "lost"},
		"one is lost for a group":         {nth(30, drop), "share --qos 0 --share 2", 4, "lost"},
		"one of a thousand filters":       {nth(30, drop), "wild --filters 1000 --subscribers 2", 4, "lost"},
		"one comes twice":                 {nth(30, twice), "pairs", 4, "duplicated"},
		"one comes twice to a group":      {nth(30, twice), "share --qos 0 --share 2", 4, "duplicated"},
		"one is damaged":                  {nth(30, damage), "fanout", 4, "damaged"},
		"two change places":               {swapped(30), "fanout --clients 1", 4, "disordered"},
		"a retained one is lost":          {nth(30, drop), "retained --qos 0 --count 100", 4, "lost"},
		"an offline one comes twice":      {nth(30, twice), "offline --count 100 --settle 10ms", 4, "duplicated"},
		"an assertion fails":              {nth(0, nil), "pairs --assert e2e.p50<1ns", 3, ""},
		"an assertion about the unknown":  {nth(0, nil), "pairs --assert cpu.broker<1", 3, ""},
		"a loss is graver than assertion": {nth(30, drop), "pairs --assert e2e.p50<1ns", 4, "lost"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			args := append(strings.Fields(c.args), "-p", strconv.Itoa(meddling(t, port, c.meddle)), "--drain", "300ms")
			if !strings.Contains(c.args, "retained") && !strings.Contains(c.args, "offline") {
				args = append(args, "--duration", "150ms", "--warmup", "0s")
			}
			if !strings.Contains(c.args, "--clients") {
				args = append(args, "--clients", "2")
			}
			code, figures, said := benched(t, args...)
			if code != c.code {
				t.Errorf("exit status %d, want %d; it said: %s", code, c.code, said)
			}
			for _, fault := range []string{"lost", "duplicated", "disordered", "damaged"} {
				want := 0.0
				if fault == c.figure || c.figure == "damaged" && fault == "lost" {
					want = 1
				}
				if figures[fault] != want {
					t.Errorf("%s: %v, want %v", fault, figures[fault], want)
				}
			}
		})
	}
}
