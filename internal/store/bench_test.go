package store

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/fantail-mqtt/fantail/internal/record"
	"github.com/fantail-mqtt/fantail/message"
)

// benchStore is on a real disk: that of the folder for tests, TMPDIR.
func benchStore(b *testing.B) *Store {
	dir := b.TempDir()
	s, err := Open(dir+"/store", Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	return s
}

func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// resident is what the process has in memory, in bytes.
func resident(b *testing.B) int {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	pages, err := strconv.Atoi(strings.Fields(string(text))[1])
	if err != nil {
		b.Fatal(err)
	}
	return pages * os.Getpagesize()
}

// report says what b.N messages took.
func report(b *testing.B, wall, used time.Duration) {
	n := float64(b.N)
	b.ReportMetric(n/wall.Seconds(), "messages/s")
	b.ReportMetric(used.Seconds()/n*1e6, "CPU-s/M")
	b.ReportMetric(0, "ns/op")
}

func measure(b *testing.B, s *Store, run func()) {
	runtime.GC()
	before := s.Figures()
	b.ResetTimer()
	used, begin := cpu(b), time.Now()
	run()
	settle(b, s)
	report(b, time.Since(begin), cpu(b)-used)
	b.StopTimer()
	f := s.Figures()
	b.ReportMetric(float64(b.N)/float64(f.Frames-before.Frames), "messages/frame")
	b.ReportMetric(float64(f.SyncP50.Microseconds()), "µs-commit-p50")
	b.ReportMetric(float64(resident(b))/(1<<20), "MiB-resident")
}

const benchSessions = 100

func benchClients(s *Store) (clients []string) {
	for i := range benchSessions {
		client := fmt.Sprintf("subscriber-%03d", i)
		clients = append(clients, client)
		s.Append(record.AppendSessionOpened(nil, client, record.Opened{Expiry: record.Never}), nil)
	}
	return clients
}

// waiters bounds what one appends before it waits, as publishers with messages
// in flight do.
type waiters struct {
	s     *Store
	slots chan struct{}
}

func (w *waiters) tick() {
	w.slots <- struct{}{}
	if w.s.After(func(error) { <-w.slots }) {
		<-w.slots
	}
}

// enqueue gives each session its share of n messages, 20 a tick.
func enqueue(s *Store, clients []string, n int) {
	var next [benchSessions]uint64
	var records []byte
	w := waiters{s, make(chan struct{}, 200)} // so 4000 messages wait at most
	for i := range n {
		c := i % len(clients)
		next[c]++
		m := &message.Message{Topic: "bench/" + clients[c], Payload: make([]byte, 128), QoS: 1, Arrived: 1_700_000_000_000}
		records = record.AppendQueued(records[:0], clients[c], record.Queued{Seq: next[c], QoS: 1, Message: m})
		s.Append(records, m)
		if i%20 == 19 {
			w.tick()
		}
	}
}

func BenchmarkQueue(b *testing.B) {
	s := benchStore(b)
	clients := benchClients(s)
	measure(b, s, func() { enqueue(s, clients, b.N) })
}

// BenchmarkDrain loads what is queued, and sends and acknowledges it.
func BenchmarkDrain(b *testing.B) {
	s := benchStore(b)
	clients := benchClients(s)
	enqueue(s, clients, b.N)
	settle(b, s)
	measure(b, s, func() {
		var wg sync.WaitGroup
		for _, client := range clients {
			wg.Go(func() { drain(s, client) })
		}
		wg.Wait()
	})
}

func drain(s *Store, client string) {
	type answer = []record.Queued
	c := make(chan answer, 1)
	var records []byte
	for from := uint64(0); ; {
		s.Load(client, from, 32<<10, func(items []record.Queued, _ error) { c <- items })
		items := <-c
		if len(items) == 0 {
			return
		}
		for i := range items { // an acknowledgement comes when others are in flight
			records = record.AppendSent(records[:0], client, items[i].Seq, uint16(items[i].Seq%65535+1), items[i].Message.Size())
			if i >= 20 {
				records = record.AppendAcked(records, client, items[i-20].Seq, 0)
			}
			s.Append(records, nil)
		}
		for i := max(0, len(items)-20); i < len(items); i++ {
			s.Append(record.AppendAcked(records[:0], client, items[i].Seq, 0), nil)
		}
		from = items[len(items)-1].Seq + 1
	}
}

// BenchmarkFanOut queues one message for 10,000 sessions.
func BenchmarkFanOut(b *testing.B) {
	s := benchStore(b)
	var clients []string
	for i := range 10_000 {
		clients = append(clients, fmt.Sprintf("subscriber-%05d", i))
		s.Append(record.AppendSessionOpened(nil, clients[i], record.Opened{Expiry: record.Never}), nil)
	}
	settle(b, s)
	var longest time.Duration
	var records []byte
	seq := uint64(0)
	used := cpu(b)
	b.ResetTimer()
	for range b.N {
		seq++
		begin := time.Now()
		m := &message.Message{Topic: "bench/all", Payload: make([]byte, 128), QoS: 1}
		s.Enter()
		for _, client := range clients {
			records = record.AppendQueued(records[:0], client, record.Queued{Seq: seq, QoS: 1, Message: m})
			s.Append(records, m)
		}
		s.Leave()
		settle(b, s)
		longest = max(longest, time.Since(begin))
	}
	b.StopTimer()
	b.ReportMetric(float64(longest.Microseconds())/1000, "ms-longest")
	b.ReportMetric(float64(b.Elapsed().Microseconds())/1000/float64(b.N), "ms/message")
	b.ReportMetric((cpu(b)-used).Seconds()*1000/float64(b.N), "CPU-ms/message")
}

// BenchmarkOneInFlight is one publisher that waits for each acknowledgement.
func BenchmarkOneInFlight(b *testing.B) {
	s := benchStore(b)
	clients := benchClients(s)
	settle(b, s)
	var records []byte
	b.ResetTimer()
	for i := range b.N {
		m := &message.Message{Topic: "bench/one", Payload: make([]byte, 128), QoS: 1}
		records = record.AppendQueued(records[:0], clients[0], record.Queued{Seq: uint64(i) + 1, QoS: 1, Message: m})
		s.Append(records, m)
		settle(b, s)
	}
	b.ReportMetric(float64(s.Figures().SyncP50.Microseconds()), "µs-commit-p50")
}

// BenchmarkRescue opens a store of which one block is damaged: of a million messages
// that wait.
func BenchmarkRescue(b *testing.B) {
	const messages, size = 10000, 120
	var clients []string
	for i := range 100 {
		clients = append(clients, fmt.Sprintf("client-%03d", i))
	}
	dir := b.TempDir()
	queued(b, vfs.Default, dir+"/store", clients, messages, 250, size)
	hit(b, vfs.Default, dir+"/store", "client-050", messages/2, size)
	put(b, vfs.Default, dir+"/store/"+damagedFile, "")
	b.ResetTimer()
	s, err := Open(dir+"/store", Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(b.Elapsed().Seconds(), "s-rescue")
	b.ReportMetric(0, "ns/op")
	b.StopTimer()
	if n := recovered(b, s); n != len(clients) {
		b.Errorf("%d sessions", n)
	}
	n := 0
	for _, client := range clients {
		n += len(drained(b, s, client))
	}
	b.ReportMetric(float64(messages*len(clients)-n), "messages-lost")
	if err := s.Close(); err != nil {
		b.Error(err)
	}
}
