package overload

import (
	"bytes"
	"math"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// descriptors is how many the process may have.
func descriptors() int {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return 0
	}
	return int(min(r.Cur, math.MaxInt32))
}

// available is the memory that there is for the process: the machine's, or what
// its control group and those around it leave.
func available() int64 {
	var info unix.Sysinfo_t
	most := int64(math.MaxInt64)
	if err := unix.Sysinfo(&info); err == nil {
		most = int64(info.Totalram) * int64(info.Unit)
	}
	groups, _ := os.ReadFile("/proc/self/cgroup")
	for line := range bytes.Lines(groups) {
		id, name, _ := strings.Cut(strings.TrimSpace(string(line)), ":")
		controllers, group, _ := strings.Cut(name, ":")
		switch {
		case id == "0": // version 2
			for ; ; group = path.Dir(group) {
				most = bound(most, path.Join("/sys/fs/cgroup", group, "memory.max"))
				if group == "/" || group == "." {
					break
				}
			}
		case controllers == "memory":
			most = bound(most, path.Join("/sys/fs/cgroup/memory", group, "memory.limit_in_bytes"))
			most = bound(most, "/sys/fs/cgroup/memory/memory.limit_in_bytes")
		}
	}
	if most == math.MaxInt64 {
		return 0
	}
	return most
}

// bound is most, or the number in a file if that is less.
func bound(most int64, file string) int64 {
	text, err := os.ReadFile(file)
	if err != nil {
		return most
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || n <= 0 {
		return most
	}
	return min(most, n)
}
