package main

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// machine describes where figures were taken.
type machine struct {
	cpu    string
	cores  int
	memory string
	kernel string
	load   string // one-minute average before the start
}

func thisMachine() machine {
	m := machine{cpu: "unknown CPU", cores: runtime.NumCPU(), memory: "memory unknown", kernel: "unknown", load: "unknown"}
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		m.cpu = field(b, "model name", m.cpu)
	}
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.load, _, _ = strings.Cut(string(b), " ")
	}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err == nil {
		m.memory = fmt.Sprintf("%.0f GiB", float64(info.Totalram)*float64(info.Unit)/(1<<30))
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err == nil {
		m.kernel = unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
	}
	return m
}

// field is the value of the first line "name : value".
func field(b []byte, name, fallback string) string {
	for line := range bytes.Lines(b) {
		key, value, ok := strings.Cut(string(line), ":")
		if ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return fallback
}

// slug names the machine in a file name, without its host name.
func (m machine) slug() string {
	words := strings.FieldsFunc(strings.ToLower(m.cpu), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
	return fmt.Sprintf("%s-%dcores", strings.Join(words, "-"), m.cores)
}

func (m machine) String() string {
	return fmt.Sprintf("%s, %d cores, %s, %s, %s", m.cpu, m.cores, m.memory, m.kernel, runtime.Version())
}
