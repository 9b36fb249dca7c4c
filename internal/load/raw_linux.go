package load

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls of the loop go to the kernel without telling the Go scheduler:
// none of them blocks for longer than a slice, and the bookkeeping (and the
// hand-over of the processor while waiting) would cost more than the work.

func rawRecv(fd int, b []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

func rawSend(fd int, b []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	return int(n), errno
}

// rawWait is epoll_pwait2 (Linux 5.11): epoll_wait counts in whole
// milliseconds, too coarse for a steady rate.
func rawWait(epoll int, events []unix.EpollEvent, limit time.Duration) (int, unix.Errno) {
	timeout := [2]int64{int64(limit / time.Second), int64(limit % time.Second)}
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT2, uintptr(epoll),
		uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)),
		uintptr(unsafe.Pointer(&timeout)), 0, 0)
	return int(n), errno
}
