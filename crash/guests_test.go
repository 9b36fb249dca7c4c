package crash

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// willDelay is what the clients that vanish ask for, in seconds: the shortest.
const willDelay = 1

// testator connects with a delayed will, and vanishes, stays until the crash, or
// vanishes and comes back in time.
func (w *world) testator(ctx context.Context, name string, random *rand.Rand) {
	l := newLine(w.history, name)
	b := &bequest{topic: "will/" + name, text: payload(name+".will", random.IntN(200)), qos: byte(1 + random.IntN(2)), delay: willDelay}
	of := wish{line: l, expiry: 60, will: b}
	c := w.foreign(protocol5, of).(*client5)
	if !pause(ctx, upTo(random, w.spread)) {
		return
	}
	l.tell(event{kind: armed, key: name + ".will", topic: b.topic, qos: b.qos, delay: willDelay * time.Second})
	// Nothing but a crash may end this, or it would not be known when it vanished. The
	// SUBACK waits for the frame that has the will.
	whole := context.WithoutCancel(ctx)
	if c.dial(whole) != nil {
		return
	}
	if c.subscribe(whole, "own/"+name, 1) == nil {
		l.tell(event{kind: bequeathed, key: name + ".will"})
	}
	switch random.IntN(4) {
	case 0:
		<-ctx.Done()
		w.vanish(l, c, w.cut) // a kill tells it by itself
	case 1:
		pause(ctx, upTo(random, w.spread/4))
		w.vanish(l, c, true)
		l.tell(event{kind: returning, key: name + ".will"})
		c.will = nil
		if c.dial(whole) != nil {
			return
		}
		if c.subscribe(whole, "own/"+name+"/again", 1) == nil {
			l.tell(event{kind: returned, key: name + ".will"})
		}
		<-ctx.Done()
		w.vanish(l, c, false)
	default:
		pause(ctx, upTo(random, w.spread))
		w.vanish(l, c, true)
	}
}

func (w *world) vanish(l *line, c foreign, tell bool) {
	if tell {
		l.tell(event{kind: vanished})
	}
	l.drop()
	<-c.gone()
}

// passer publishes with mosquitto_pub, a process of its own, through a proxy which is
// its tap. What is not acknowledged when the load ends will not be sent again.
func (w *world) passer(ctx context.Context, name string, random *rand.Rand) error {
	if !pause(ctx, upTo(random, w.spread)) {
		return nil
	}
	l := newLine(w.history, name)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() { w.proxy(ctx, listener, l, &done) }) // ends with the listener
	qos := 1 + random.IntN(2)
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	cmd := exec.CommandContext(ctx, "mosquitto_pub", "-h", "127.0.0.1", "-p", port, "-i", name, "-l",
		"-V", []string{"5", "311"}[random.IntN(2)], "-q", fmt.Sprint(qos), "-t", fmt.Sprintf("load/%s/q%d/m", name, qos))
	var lines strings.Builder
	for n := range 1 + random.IntN(40) {
		fmt.Fprintln(&lines, payload(fmt.Sprintf("%s.%d", name, n), random.IntN(100)))
	}
	cmd.Stdin = strings.NewReader(lines.String())
	err = cmd.Run()
	over := ctx.Err() != nil
	cancel()
	_ = listener.Close()
	l.drop()
	done.Wait()
	l.tell(event{kind: abandoned})
	if cmd.ProcessState != nil || over {
		return nil
	}
	return err // it is not installed
}

func (w *world) proxy(ctx context.Context, listener net.Listener, l *line, done *sync.WaitGroup) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		server, err := tapped(ctx, l, w.server.at())
		if err != nil {
			_ = client.Close()
			continue
		}
		done.Go(func() { // each ends with either connection
			_, _ = io.Copy(server, client)
			server.drop()
		})
		done.Go(func() {
			_, _ = io.Copy(client, server)
			_ = client.Close()
		})
	}
}

// auditor subscribes to the retained messages and waits for those which must be there.
func (w *world) auditor(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, w.deadline)
	defer cancel()
	l := newLine(w.history, name)
	c := newClient5(wish{line: l, address: w.server.at, clean: true})
	if err := c.dial(ctx); err != nil {
		return err
	}
	defer func() {
		l.drop()
		<-c.gone()
		l.tell(event{kind: ended})
	}()
	w.history.ask(func(j *judge) { j.inspect(name) })
	for _, filter := range []string{"ret/#", "gone/#"} {
		if err := c.subscribe(ctx, filter, 1); err != nil {
			return err
		}
	}
	_ = w.history.until(ctx, func(j *judge) bool { return len(j.unheard()) == 0 })
	w.history.ask(func(j *judge) { j.findings = append(j.findings, j.unheard()...) })
	return nil
}
