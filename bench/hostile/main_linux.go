// Command hostile attacks a broker in five ways at once, and shows what that
// means for those who mean well.
//
// It starts the broker, lets "fantail bench pairs" run as the honest clients,
// and while their traffic is measured holds: connections that never send
// CONNECT, some that send it byte by byte, some that guess passwords, and some
// with an account whose filters are made to be slow. Clients that never read
// are the --stalled ones of the bench. The attackers come from other addresses
// of this machine (127.0.1.1 and so on) than the honest ones, and from a process
// that is only given what processors have left (SCHED_IDLE): elsewhere they would
// have processors of their own.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

type options struct {
	bin                                     string
	honest, rate, qos                       int
	silent, slow, guessers, filters, unread int
	addresses                               int
	warmup, duration                        time.Duration
	attack                                  bool
}

func main() {
	var o options
	flag.StringVar(&o.bin, "bin", "bin/fantail", "the broker and the load generator")
	flag.IntVar(&o.honest, "honest", 1000, "honest publishers, each with a subscriber")
	flag.IntVar(&o.rate, "rate", 20, "messages a second of each")
	flag.IntVar(&o.qos, "qos", 1, "of those messages")
	flag.IntVar(&o.silent, "silent", 5000, "connections that never send CONNECT")
	flag.IntVar(&o.slow, "slow", 2000, "connections that send it byte by byte, a byte a second")
	flag.IntVar(&o.guessers, "guessers", 1000, "clients that guess passwords, one guess after the other")
	flag.IntVar(&o.filters, "filters", 1000, "clients with filters that are slow to match, and messages for them")
	flag.IntVar(&o.unread, "unread", 1000, "clients that subscribe to honest traffic and never read")
	flag.IntVar(&o.addresses, "addresses", 50, "addresses that the attackers come from")
	flag.DurationVar(&o.warmup, "warmup", 20*time.Second, "attack and traffic before the measurement")
	flag.DurationVar(&o.duration, "duration", 30*time.Second, "of the measurement")
	flag.BoolVar(&o.attack, "attack", false, "be the attackers, until an interrupt: the command starts itself so")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if o.attack {
		newAttack(&o).run(ctx, os.Stdout)
		return
	}
	if err := run(ctx, os.Stdout, &o); err != nil {
		fmt.Fprintln(os.Stderr, "hostile:", err)
		os.Exit(1)
	}
}

// configuration is that of a broker which is open to the network: accounts, and
// limits for an address and a client. The rest are defaults.
const configuration = `
listeners: [tcp://0.0.0.0:%d, http://127.0.0.1:%d]
durability: memory
auth: {users: [{name: honest, password: an honest one}, {name: mallory, password: known}]}
limits:
  per_address: {connections: 5000, connect_rate: 100}
log: {level: warn}
`

const (
	mqttPort = 18951
	httpPort = 18952
)

func run(ctx context.Context, w io.Writer, o *options) error {
	dir, err := os.MkdirTemp("", "hostile")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "fantail.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, configuration, mqttPort, httpPort), 0o600); err != nil {
		return err
	}
	var said bytes.Buffer
	server := exec.CommandContext(ctx, o.bin, "server", "--config", file)
	server.Stderr = &said
	ready, err := server.StdoutPipe()
	if err != nil {
		return err
	}
	if err := server.Start(); err != nil {
		return err
	}
	defer func() {
		_ = server.Process.Signal(os.Interrupt)
		_ = server.Wait()
	}()
	if _, err := ready.Read(make([]byte, 1)); err != nil {
		return fmt.Errorf("the broker did not start: %w\n%s", err, said.String())
	}
	go func() { _, _ = io.Copy(io.Discard, ready) }() // ends with the server
	bench, err := startBench(ctx, o, server.Process.Pid)
	if err != nil {
		return err
	}
	if err := connected(ctx, 2*o.honest+o.unread); err != nil {
		_ = bench.cmd.Process.Kill()
		return err
	}
	fmt.Fprintf(w, "%d honest clients and %d that will not read are connected; the attack begins\n", 2*o.honest, o.unread)
	attackers := exec.CommandContext(ctx, "chrt", append([]string{"--idle", "0", os.Args[0], "-attack"}, os.Args[1:]...)...)
	attackers.Stdout, attackers.Stderr = w, w
	if err := attackers.Start(); err != nil {
		_ = bench.cmd.Process.Kill()
		return err
	}
	ended := make(chan int64)
	watching, stop := context.WithCancel(ctx)
	go func() { ended <- watch(watching) }() // ends with stop
	err = bench.cmd.Wait()
	stop()
	peak := <-ended
	_ = attackers.Process.Signal(os.Interrupt)
	_ = attackers.Wait()
	fmt.Fprintf(w, "\n%s\npeak of the broker's memory: %d MiB\n", bench.out.String(), peak>>20)
	figures(w)
	if err != nil {
		return fmt.Errorf("the honest clients: %w", err)
	}
	return nil
}

type benchmark struct {
	cmd *exec.Cmd
	out bytes.Buffer
}

// startBench starts the honest clients, with what has to hold.
func startBench(ctx context.Context, o *options, pid int) (*benchmark, error) {
	b := &benchmark{}
	b.cmd = exec.CommandContext(ctx, o.bin, "bench", "pairs", "-p", strconv.Itoa(mqttPort), "-u", "honest", "-P", "an honest one",
		"--clients", strconv.Itoa(o.honest), "--rate", strconv.Itoa(o.honest*o.rate), "--stalled", strconv.Itoa(o.unread), "-q", strconv.Itoa(o.qos),
		"--warmup", o.warmup.String(), "--duration", o.duration.String(), "--pid", strconv.Itoa(pid),
		"--assert", "e2e.p99<20ms,lost=0,duplicated=0,closed=0")
	b.cmd.Stdout, b.cmd.Stderr = &b.out, &b.out
	return b, b.cmd.Start()
}

// connected waits until so many clients are.
func connected(ctx context.Context, n int) error {
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
		if figure("fantail_clients_connected") >= float64(n) {
			return nil
		}
	}
	return fmt.Errorf("of %d honest clients %v are connected", n, figure("fantail_clients_connected"))
}

// watch returns the largest resident set of the broker until ctx ends.
func watch(ctx context.Context) (peak int64) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return peak
		case <-tick.C:
			peak = max(peak, int64(figure("process_resident_memory_bytes")))
		}
	}
}

// figure is one of the broker's metrics.
func figure(name string) float64 {
	for _, line := range metrics() {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			v, _ := strconv.ParseFloat(rest, 64)
			return v
		}
	}
	return 0
}

// figures prints what the broker counted of the attack.
func figures(w io.Writer) {
	for _, line := range metrics() {
		for _, family := range []string{"fantail_connections_refused_total", "fantail_messages_dropped_total", "fantail_connections_closed_total"} {
			if strings.HasPrefix(line, family) {
				fmt.Fprintln(w, line)
			}
		}
	}
}

func metrics() []string {
	client := http.Client{Timeout: 2 * time.Second}
	r, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/metrics", httpPort))
	if err != nil {
		return nil
	}
	defer r.Body.Close()
	text, _ := io.ReadAll(r.Body)
	return strings.Split(string(text), "\n")
}
