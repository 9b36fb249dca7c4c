package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fantail-mqtt/fantail/packet"
)

// attack is all attackers. Each goes on until the context ends: who is thrown
// out comes again.
type attack struct {
	o    *options
	done sync.WaitGroup

	dialed, failed              atomic.Int64 // connections that were made, and that were not
	thrown, guessed, subscribed atomic.Int64
	published                   atomic.Int64
}

func newAttack(o *options) *attack { return &attack{o: o} }

func (a *attack) String() string {
	return fmt.Sprintf("%d connections of attackers (%d could not be made), %d thrown out, %d passwords guessed, %d filters, %d messages for them",
		a.dialed.Load(), a.failed.Load(), a.thrown.Load(), a.guessed.Load(), a.subscribed.Load(), a.published.Load())
}

// run attacks until ctx ends, and prints a line every five seconds.
func (a *attack) run(ctx context.Context, w io.Writer) {
	a.begin(ctx)
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
		fmt.Fprintln(w, a)
	}
	a.done.Wait()
}

func (a *attack) begin(ctx context.Context) {
	start := func(n int, f func(ctx context.Context, c net.Conn, i int)) {
		for i := range n {
			a.done.Go(func() { a.forever(ctx, i, f) }) // ends with ctx
		}
	}
	start(a.o.silent, a.silent)
	start(a.o.slow, a.slow)
	start(a.o.guessers, a.guess)
	start(a.o.filters, a.filter)
}

// pause is what an attacker waits that was thrown out.
const pause = time.Second

func (a *attack) forever(ctx context.Context, i int, f func(context.Context, net.Conn, int)) {
	from := net.IPv4(127, 0, 1, byte(1+i%a.o.addresses))
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: from}, Timeout: 5 * time.Second}
	for ctx.Err() == nil {
		c, err := d.DialContext(ctx, "tcp", "127.0.0.1:"+strconv.Itoa(mqttPort))
		if err != nil {
			a.failed.Add(1)
		} else {
			a.dialed.Add(1)
			end := context.AfterFunc(ctx, func() { _ = c.Close() })
			f(ctx, c, i)
			end()
			_ = c.Close()
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// silent never sends anything.
func (a *attack) silent(_ context.Context, c net.Conn, _ int) {
	_, _ = io.Copy(io.Discard, c)
	a.thrown.Add(1)
}

// slow sends CONNECT a byte a second.
func (a *attack) slow(ctx context.Context, c net.Conn, i int) {
	defer a.thrown.Add(1)
	gone := make(chan struct{})
	go func() { // ends with c
		defer close(gone)
		_, _ = io.Copy(io.Discard, c)
	}()
	for _, b := range connect("slow", i, "mallory", "known") {
		if _, err := c.Write([]byte{b}); err != nil {
			break
		}
		select {
		case <-gone:
			return
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
	}
	<-gone
}

// guess tries a password.
func (a *attack) guess(_ context.Context, c net.Conn, i int) {
	_, _ = c.Write(connect("guess", i, "honest", strconv.FormatInt(a.guessed.Add(1), 36)))
	_, _ = io.Copy(io.Discard, c)
	a.thrown.Add(1)
}

// filter subscribes to filters of {a,+} over many levels, and publishes to what
// all of them could match.
func (a *attack) filter(ctx context.Context, c net.Conn, i int) {
	defer a.thrown.Add(1)
	out := connect("filter", i, "mallory", "known")
	const levels = 16
	for n := range 100 {
		bits := i*100 + n
		words := make([]string, levels)
		for l := range words {
			words[l] = string("a+"[bits>>l&1])
		}
		s := packet.Subscribe{ID: uint16(n + 1), Filters: []packet.Subscription{{Filter: strings.Join(words, "/")}}}
		out = packet.AppendSubscribe(out, &s, packet.V311)
		a.subscribed.Add(1)
	}
	if _, err := c.Write(out); err != nil {
		return
	}
	go func() { _, _ = io.Copy(io.Discard, c) }() // ends with c
	topic := []byte(strings.Repeat("a/", levels-1) + "b")
	for ctx.Err() == nil {
		m := packet.AppendPublish(nil, &packet.Publish{Topic: topic}, packet.V311)
		if _, err := c.Write(m); err != nil {
			return
		}
		a.published.Add(1)
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

func connect(role string, i int, user, password string) []byte {
	return packet.AppendConnect(nil, &packet.Connect{
		Version: packet.V311, CleanStart: true, ClientID: fmt.Sprint(role, "-", i), KeepAlive: 60,
		UserName: user, HasUserName: true, Password: []byte(password), HasPassword: true,
	})
}
