package cli

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"runtime"
	"strings"

	"github.com/fantail-mqtt/fantail/client"
	"github.com/fantail-mqtt/fantail/internal/load"
	"github.com/fantail-mqtt/fantail/topic"
)

// checkScenario names a mistake that no single flag is.
func (b *bench) checkScenario() error {
	switch b.scenario {
	case "conn":
		return load.Idle{Connections: b.clients, Rate: b.perSecond}.Validate()
	case "sub":
		_, err := topic.ParseFilter(b.topics, 0)
		return err
	case "retained":
		return b.retained().Validate()
	case "offline":
		return b.offline().Validate()
	default:
		return b.traffic().Validate()
	}
}

// traffic is the scenario of those that send while others receive.
func (b *bench) traffic() load.Scenario {
	sc := load.Scenario{
		QoS: byte(b.qos), Retain: b.retain, Window: b.inflight, Sizes: b.payloads, Topics: b.topics,
		Tick: b.tick, Churn: b.comes, Publishers: b.clients, Subscribers: b.clients, Threads: b.threads, Stalled: b.stalled,
	}
	switch b.scenario {
	case "pub":
		sc.Shape, sc.Subscribers = load.Alone, 0
	case "fanout":
		sc.Shape, sc.Publishers = load.Fanout, b.publishers
	case "fanin":
		sc.Shape, sc.Subscribers = load.Fanin, b.subscribers
	case "share":
		sc.Shape, sc.Subscribers = load.Share, b.group
	case "wild":
		sc.Shape, sc.Subscribers, sc.Filters = load.Wild, b.subscribers, b.filters
	default:
		sc.Shape = load.Pairs
	}
	sc.Rate = b.perSecond * float64(max(1, sc.Copies()))
	return sc
}

func (b *bench) retained() load.Retained {
	return load.Retained{
		Messages: b.count, Publishers: b.publishers, Subscribers: b.clients, QoS: byte(b.qos), Window: b.inflight,
		Sizes: b.payloads, Limit: b.duration, Patience: b.patience, CleanUp: true,
	}
}

func (b *bench) offline() load.Durable {
	return load.Durable{
		Pattern: load.Backlog, Sessions: b.clients, Messages: b.count, Window: b.inflight, Sizes: b.payloads,
		Limit: b.duration, Settle: b.settle, Patience: b.patience, Topics: "bench/%r/offline/%i", CleanUp: true,
	}
}

// seesBroker says whether the broker's own figures can be had.
func (b *bench) seesBroker() bool { return b.pid > 0 && runtime.GOOS == "linux" }

// aim is where and as whom the clients of a load connect. Plain TCP is left to
// the load itself, which is faster.
func (b *bench) aim(ctx context.Context, p *plan) (load.Target, error) {
	o := p.options
	to := load.Target{
		Login: load.Login{
			Version: o.Version, HasUserName: o.HasUserName, UserName: o.UserName, Password: o.Password, KeepAlive: o.KeepAlive,
		},
		Watch: b.watch,
	}
	if b.seesBroker() {
		to.PID = b.pid
	}
	u, err := url.Parse(o.URL)
	if err != nil {
		return load.Target{}, err
	}
	if user := u.User; user != nil && !o.HasUserName {
		to.HasUserName, to.UserName = true, user.Username()
		if pw, ok := user.Password(); ok {
			to.Password = []byte(pw)
		}
	}
	if u.Scheme != "mqtt" || o.TLS != nil {
		to.Dial = func(ctx context.Context) (net.Conn, error) { return client.Open(ctx, o) }
		return to, nil
	}
	if b.bind != "" {
		if to.Source, err = netip.ParseAddr(b.bind); err != nil {
			return load.Target{}, err
		}
	}
	conn, err := client.Open(ctx, o) // which of the host's addresses answers
	if err != nil {
		return load.Target{}, err
	}
	to.Addr, err = netip.ParseAddrPort(conn.RemoteAddr().String())
	conn.Close()
	return to, err
}

func (b *bench) timing() load.Timing {
	return load.Timing{Ramp: b.ramp, Warm: b.warmup, Measure: b.duration, Drain: b.patience}
}

func (b *bench) runTraffic(ctx context.Context, p *plan) (*benchReport, error) {
	to, err := b.aim(ctx, p)
	if err != nil {
		return nil, err
	}
	sc := b.traffic()
	r, err := load.Run(ctx, to, sc, b.timing())
	if err != nil {
		return nil, err
	}
	x := newReport(sc.String(), r.Faults, r.Interrupted)
	x.traffic(r, b.seesBroker())
	x.bottleneck(r, sc, to.Dial == nil)
	return x, nil
}

func (b *bench) runSub(ctx context.Context, p *plan) (*benchReport, error) {
	to, err := b.aim(ctx, p)
	if err != nil {
		return nil, err
	}
	r, err := load.Listen(ctx, to, load.Listening{Subscribers: b.clients, Filter: b.topics, QoS: byte(b.qos)}, b.timing())
	if err != nil {
		return nil, err
	}
	x := newReport(fmt.Sprintf("%d subscribers to %s, QoS %d", b.clients, b.topics, b.qos), r.Faults, r.Interrupted)
	x.traffic(r, b.seesBroker())
	x.bottleneck(r, load.Scenario{}, to.Dial == nil)
	return x, nil
}

func (b *bench) runConn(ctx context.Context, p *plan) (*benchReport, error) {
	to, err := b.aim(ctx, p)
	if err != nil {
		return nil, err
	}
	idle := load.Idle{Connections: b.clients, Subscribe: b.subscribe, Rate: b.perSecond, Settle: b.settle, Hold: b.duration}
	r, err := load.RunIdle(ctx, to, idle)
	if err != nil {
		return nil, err
	}
	with := ""
	if b.subscribe {
		with = ", a subscription each"
	}
	x := newReport(fmt.Sprintf("%d connections%s", b.clients, with), load.Faults{Closed: uint64(r.Closed), Protocol: r.Protocol}, r.Interrupted)
	x.idle(r, b.seesBroker())
	return x, nil
}

func (b *bench) runRetained(ctx context.Context, p *plan) (*benchReport, error) {
	to, err := b.aim(ctx, p)
	if err != nil {
		return nil, err
	}
	sc := b.retained()
	r, err := load.RunRetained(ctx, to, sc)
	if err != nil {
		return nil, err
	}
	x := newReport(fmt.Sprintf("%d retained messages, %d subscribers, QoS %d, %s B", b.count, b.clients, b.qos, strings.Trim(b.sizes, " ")), r.Faults, r.Interrupted)
	x.retained(r, b.seesBroker())
	return x, nil
}

func (b *bench) runOffline(ctx context.Context, p *plan) (*benchReport, error) {
	to, err := b.aim(ctx, p)
	if err != nil {
		return nil, err
	}
	sc := b.offline()
	r, err := load.RunDurable(ctx, to, sc)
	if err != nil {
		return nil, err
	}
	x := newReport(sc.String(), r.Faults, r.Interrupted)
	x.offline(r, b.seesBroker())
	return x, nil
}
