package broker

import (
	"strings"
	"sync"
)

const tailSize = 2048

// tail keeps the end of what a process prints, to tell why it failed.
type tail struct {
	mu sync.Mutex // guards b: the process writes, anyone reads
	b  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if over := len(t.b) - tailSize; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := strings.TrimSpace(string(t.b)); s != "" {
		return s
	}
	return "nothing"
}
