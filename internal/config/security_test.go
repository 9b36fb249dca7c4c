package config

import (
	"strings"
	"testing"
	"time"
)

// Aliases of aliases of aliases are many times what the file holds: such a
// file is refused, at once.
func TestAYAMLBombIsAMistake(t *testing.T) {
	var b strings.Builder
	b.WriteString("aa: &aa [x, x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 12; i++ {
		b.WriteString(name(i) + ": &" + name(i) + " [" + strings.TrimSuffix(strings.Repeat("*"+name(i-1)+", ", 10), ", ") + "]\n")
	}
	b.WriteString("node: *" + name(11) + "\n")
	done := make(chan error, 1)
	go func() {
		_, err := Parse([]byte(b.String()))
		done <- err
	}()
	select {
	case err := <-done:
		if err == nil {
			t.Error("it was taken")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it is still being read")
	}
}

// Brackets in brackets are refused, too.
func TestDeepYAMLIsAMistake(t *testing.T) {
	const deep = 5000
	if _, err := Parse([]byte("listeners: " + strings.Repeat("[", deep) + strings.Repeat("]", deep))); err == nil {
		t.Error("it was taken")
	}
}

func name(i int) string { return "a" + string(rune('a'+i)) }
