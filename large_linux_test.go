package fantail_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/fantail-mqtt/fantail"
	"github.com/fantail-mqtt/fantail/client"
	"github.com/fantail-mqtt/fantail/internal/load"
)

// Large messages for many, who share them where the transport can, come whole, once
// and in order over each: more than any socket takes at once.
func TestLargeMessagesForManyComeWhole(t *testing.T) {
	everywhere(t, func(t *testing.T, transport string) {
		dir := t.TempDir()
		id := identity{cert: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem")}
		id.issue(t, 1)
		files := "?cert=" + id.cert + "&key=" + id.key
		urls := []string{"tcp://127.0.0.1:0", "ws://127.0.0.1:0/mqtt", "tls://127.0.0.1:0" + files, "wss://127.0.0.1:0/mqtt" + files}
		var c fantail.Config
		for _, u := range urls {
			c.Listeners = append(c.Listeners, listener(t, u))
		}
		c.Limits.PendingBytes = 64 << 20
		s := serve(t, transport, c, nil)
		for i, scheme := range []string{"mqtt", "ws", "mqtts", "wss"} {
			for qos := range byte(2) {
				t.Run(fmt.Sprint(scheme, " QoS ", qos), func(t *testing.T) {
					o := client.Options{URL: scheme + "://" + s.mqtt[i], TLS: &tls.Config{RootCAs: id.roots}}
					to := load.Target{Dial: func(ctx context.Context) (net.Conn, error) { return client.Open(ctx, o) }}
					r, err := load.Run(t.Context(), to, load.Scenario{
						Shape: load.Fanout, Publishers: 1, Subscribers: 20, QoS: qos, Window: 8, Sizes: []int{64 << 10, 100, 300 << 10, 16 << 10},
					}, load.Timing{Measure: 50 * time.Millisecond, Drain: patience})
					if err != nil {
						t.Fatal(err)
					}
					if r.Faults.Any() || r.All.Received == 0 || r.All.Received != r.All.Expected {
						t.Errorf("%d of %d came; faults: %v", r.All.Received, r.All.Expected, r.Faults)
					}
				})
			}
		}
	})
}
