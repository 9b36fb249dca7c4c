package overload

import (
	"strings"
	"testing"
	"time"
)

func TestDescriptorsAreKeptBack(t *testing.T) {
	w := &Watch{descriptors: func() int { return 1000 }}
	for descriptor, want := range map[int]struct{ full, last bool }{
		-1: {}, 0: {}, 899: {}, 900: {full: true}, 949: {full: true}, 950: {full: true, last: true}, 999: {full: true, last: true},
	} {
		why, last := w.Full(descriptor, time.Unix(1, 0))
		if (why != "") != want.full || last != want.last {
			t.Errorf("descriptor %d: %q, %v", descriptor, why, last)
		}
	}
	if why, _ := w.Full(900, time.Unix(1, 0)); !strings.Contains(why, "901 descriptors are in use, of 1000") {
		t.Error(why)
	}
}

func TestMemoryHasItsBound(t *testing.T) {
	w := New(1)
	if why, last := w.Full(3, time.Now()); !strings.Contains(why, "limits.memory") || last {
		t.Errorf("%q, %v", why, last)
	}
	w.SetMemory(-1)
	if why, _ := w.Full(3, time.Now()); why != "" {
		t.Error(why)
	}
	w.SetMemory(1 << 40)
	if why, _ := w.Full(3, time.Now()); why != "" {
		t.Error(why)
	}
	if used := w.used.Load(); used < 1<<20 {
		t.Errorf("%d bytes are used", used)
	}
}

func TestWhatThereIs(t *testing.T) {
	if n := New(0).memory.Load(); n < 64<<20 {
		t.Errorf("this process may have %d bytes", n)
	}
	if n := descriptors(); n < 100 {
		t.Errorf("this process may have %d descriptors", n)
	}
}
