package load

import (
	"errors"
	"fmt"
	"io"
	"net/netip"

	"golang.org/x/sys/unix"
)

const dialSeconds = 10 // for a connect, or for an answer during set-up

// dial connects a blocking socket with TCP_NODELAY. With a source address it
// binds to it but leaves the port to connect, so that each source has the whole
// ephemeral range for each destination.
func dial(to netip.AddrPort, source netip.Addr) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open a socket: %w", err)
	}
	if err := connect(fd, to, source); err != nil {
		return -1, errors.Join(fmt.Errorf("connect to %v: %w", to, err), unix.Close(fd))
	}
	return fd, nil
}

func connect(fd int, to netip.AddrPort, source netip.Addr) error {
	if !to.Addr().Is4() {
		return errors.New("only IPv4 addresses are supported")
	}
	limit := unix.Timeval{Sec: dialSeconds}
	err := errors.Join(
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit),
	)
	if err != nil {
		return err
	}
	if source.IsValid() {
		if err := bindAddress(fd, source); err != nil {
			return err
		}
	}
	return untilDone(func() error {
		return unix.Connect(fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())})
	})
}

func bindAddress(fd int, source netip.Addr) error {
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
		return err
	}
	return unix.Bind(fd, &unix.SockaddrInet4{Addr: source.As4()})
}

// untilDone repeats what a signal interrupted; the runtime sends itself some. A
// connect that was interrupted goes on meanwhile and may have succeeded.
func untilDone(call func() error) error {
	for {
		err := call()
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EALREADY) {
			continue
		}
		if errors.Is(err, unix.EISCONN) {
			return nil
		}
		return err
	}
}

// writeAll writes b to a blocking socket.
func writeAll(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("write: %w", err)
		}
		b = b[n:]
	}
	return nil
}

// readFull fills b from a blocking socket.
func readFull(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Read(fd, b)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return fmt.Errorf("no answer within %d s", dialSeconds)
		case err != nil:
			return fmt.Errorf("read: %w", err)
		case n == 0:
			return io.ErrUnexpectedEOF
		default:
			b = b[n:]
		}
	}
	return nil
}

// readConnack reads a CONNACK of MQTT 3.1.1 from a blocking socket.
func readConnack(fd int) error {
	var b [4]byte
	if err := readFull(fd, b[:]); err != nil {
		return fmt.Errorf("connack: %w", err)
	}
	if b[0] != connackHead || b[1] != 2 || b[3] != 0 {
		return fmt.Errorf("connack: refused with % x", b)
	}
	return nil
}

// readSuback reads a SUBACK to one filter from a blocking socket. Less than the
// QoS asked for would change what is measured.
func readSuback(fd int, qos byte) error {
	var b [5]byte
	if err := readFull(fd, b[:]); err != nil {
		return fmt.Errorf("suback: %w", err)
	}
	if b != [5]byte{subackHead, 3, 0, 1, qos} {
		return fmt.Errorf("suback: % x to a filter at QoS %d", b, qos)
	}
	return nil
}
