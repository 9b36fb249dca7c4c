package cli_test

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/fantail-mqtt/fantail"
	"github.com/fantail-mqtt/fantail/bench/broker"
)

const mosquitto = "/usr/sbin/mosquitto"

// Each scenario runs for a moment against us, over TCP and WebSocket, and
// against mosquitto; what should have come has come.
func TestBenchCountsEveryMessage(t *testing.T) {
	if _, err := os.Stat(mosquitto); err != nil {
		t.Fatalf("no %s: install mosquitto (apt-get install mosquitto); make test does", mosquitto)
	}
	theirs, err := broker.Mosquitto(mosquitto).Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := theirs.Stop(); err != nil {
			t.Error(err)
		}
	})
	ours := run(t, fantail.Config{}, "tcp://127.0.0.1:0", "ws://127.0.0.1:0")
	ways := map[string]string{
		"fantail":             "-p " + strconv.Itoa(ours[0]) + " --pid " + strconv.Itoa(os.Getpid()),
		"fantail, WebSocket":  "--ws -p " + strconv.Itoa(ours[1]),
		"mosquitto":           "-p " + strconv.Itoa(int(theirs.Addr.Port())) + " --pid " + strconv.Itoa(theirs.PID),
		"mosquitto, MQTT 3.1": "-V 3.1 -L mqtt://127.0.0.1:" + strconv.Itoa(int(theirs.Addr.Port())),
	}
	for way, target := range ways {
		for _, args := range []string{
			"conn --clients 20 --rate 1k/s --subscribe",
			"pub --clients 3 --qos 1",
			"pub --clients 3 --topics a/%i --retain --rate 200",
			"pairs --clients 3",
			"pairs --clients 3 --qos 2 --size 24,1k,16k --rate 300/s",
			"fanout --clients 5 --qos 1",
			"fanin --clients 5",
			"fanin --clients 5 --stalled 3",
			"share --clients 3 --share 2",
			"retained --clients 2 --count 200",
			"offline --clients 3 --count 200",
			"wild --clients 4 --subscribers 2 --filters 300 --qos 1",
			"churn --clients 2 --churn 100/s --rate 100 --qos 1",
		} {
			t.Run(way+"/"+args, func(t *testing.T) {
				words := append(strings.Fields(args), strings.Fields(target)...)
				if !strings.HasPrefix(args, "retained") && !strings.HasPrefix(args, "offline") {
					words = append(words, "--duration", "100ms")
				}
				switch {
				case strings.HasPrefix(args, "conn"), strings.HasPrefix(args, "offline"):
					words = append(words, "--settle", "10ms")
				case !strings.HasPrefix(args, "retained"):
					words = append(words, "--warmup", "10ms")
				}
				code, figures, said := benched(t, words...)
				if code != 0 {
					t.Fatalf("exit status %d; it said: %s", code, said)
				}
				checkFigures(t, args, figures)
				if strings.Contains(target, "--pid") != (figures["memory"] != nil) {
					t.Errorf("memory: %v", figures["memory"])
				}
			})
		}
	}
}

func checkFigures(t *testing.T, args string, figures map[string]any) {
	t.Helper()
	at := func(name string) float64 {
		v, ok := figures[name].(float64)
		if !ok {
			t.Errorf("%s: %v", name, figures[name])
		}
		return v
	}
	for _, fault := range []string{"lost", "duplicated", "disordered", "damaged", "protocol", "refused", "closed"} {
		if n := at(fault); n != 0 {
			t.Errorf("%s: %v", fault, n)
		}
	}
	count := func(latency string) float64 {
		h, _ := figures[latency].(map[string]any)
		n, _ := h["count"].(float64)
		return n
	}
	if stalled, _ := figures["stalled"].(map[string]any); strings.Contains(args, "--stalled 3") && (stalled["connected"] != 3.0 || stalled["closed"] != 0.0) {
		t.Errorf("stalled: %v", figures["stalled"])
	}
	switch scenario, _, _ := strings.Cut(args, " "); scenario {
	case "conn":
		if count("connect") != 20 {
			t.Errorf("%v connects", count("connect"))
		}
	case "retained":
		if at("set") != 200 || at("fetched") != 400 || count("all") != 2 {
			t.Errorf("%v set, %v fetched by %v", at("set"), at("fetched"), count("all"))
		}
	case "offline":
		if at("queued") != 200 || at("drained") != 200 || count("ack") != 200 {
			t.Errorf("%v queued, %v drained, %v acknowledged", at("queued"), at("drained"), count("ack"))
		}
	case "pub":
		if at("sent") == 0 || strings.Contains(args, "qos 1") && at("acked") != at("sent") {
			t.Errorf("%v sent, %v acknowledged", at("sent"), at("acked"))
		}
	default:
		copies := 1.0
		if f := strings.Fields(args); scenario == "fanout" {
			copies, _ = strconv.ParseFloat(f[2], 64)
		} else if scenario == "fanin" {
			copies = 2
		}
		if at("sent") == 0 || at("received") != copies*at("sent") || at("expected") != at("received") {
			t.Errorf("%v sent, %v received, %v expected", at("sent"), at("received"), at("expected"))
		}
		if scenario == "churn" && count("connect") <= at("clients") {
			t.Error("nobody came and went")
		}
	}
}
