package load

import (
	"os"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	got, err := parseStat([]byte("42 (a) b) 1) S 1 2 3 4 5 6 7 8 9 10 250 150 0 0 20 0 1 0"))
	if err != nil || got != 4*time.Second {
		t.Errorf("got %v, %v; want 4s", got, err)
	}
	if _, err := parseStat([]byte("42 (a) S 1 2")); err == nil {
		t.Error("half a line was accepted")
	}
}

func TestParseStatus(t *testing.T) {
	status := []byte("Name:\tx\nVmHWM:\t 999 kB\nVmRSS:\t    8 kB\nThreads:\t1\n")
	for key, want := range map[string]int64{"VmRSS:": 8 << 10, "VmHWM:": 999 << 10} {
		if got, err := parseStatus(status, key); err != nil || got != want {
			t.Errorf("%s got %d, %v; want %d", key, got, err, want)
		}
	}
	if _, err := parseStatus([]byte("Name:\tzombie\n"), "VmRSS:"); err == nil {
		t.Error("a process without memory was accepted")
	}
}

func TestParseMachine(t *testing.T) {
	got, err := parseMachine([]byte("cpu  100 20 30 9999 8888 10 20 20 0 0\ncpu0 1 1 1 1\n"))
	if err != nil || got != 2*time.Second {
		t.Errorf("got %v, %v; want 2s: idle and iowait are not busy", got, err)
	}
}

func TestReadsThisProcess(t *testing.T) {
	if rss, err := RSS(os.Getpid()); err != nil || rss < 1<<20 {
		t.Errorf("RSS = %d, %v", rss, err)
	}
	if _, err := readUsage(os.Getpid()); err != nil {
		t.Error(err)
	}
	if _, err := readUsage(1 << 30); err == nil {
		t.Error("a process that does not exist has a usage")
	}
}
