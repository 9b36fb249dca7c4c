package crash

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fantail-mqtt/fantail/packet"
)

// A broker with few descriptors left refuses new connections by name, serves those
// it has and its disk, and takes new ones again when there is room.
func TestDescriptorsRunOut(t *testing.T) {
	s, said := newHost(t, t.TempDir())
	s.running(t)
	honest := newProbe5(t, s, "a/#")
	const most = 256
	l := unix.Rlimit{Cur: most, Max: most}
	if err := unix.Prlimit(s.pid(), unix.RLIMIT_NOFILE, &l, nil); err != nil {
		t.Fatal(err)
	}
	mark := said.mark()
	connect := packet.AppendConnect(nil, &packet.Connect{Version: packet.V5, CleanStart: true})
	var codes [256]int
	silent := 0
	var open []net.Conn
	for range 2 * most {
		conn, err := net.DialTimeout("tcp", s.at(), patience)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		open = append(open, conn)
		_, _ = conn.Write(connect)
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		var head [4]byte
		switch _, err := io.ReadFull(conn, head[:]); {
		case errors.Is(err, os.ErrDeadlineExceeded):
			t.Fatal("a connection is neither served nor refused")
		case err != nil:
			silent++
		default:
			codes[head[3]]++
		}
	}
	t.Logf("%d were let in, %d heard that the server is busy, %d nothing", codes[0], codes[packet.ServerBusy], silent)
	if codes[0] < most/2 || codes[packet.ServerBusy] == 0 || codes[0]+codes[packet.ServerBusy]+silent != 2*most {
		t.Errorf("%v", codes)
	}
	said.awaited(t, mark, "connections refused", "descriptors are in use, of 256")
	if n := s.counter(t, `fantail_connections_refused_total{reason="overloaded"}`); n != 2*most-codes[0] {
		t.Errorf("%d are counted as refused, of %d", n, 2*most-codes[0])
	}
	if code := honest.publish(t, "a/b", "still", true); code != 0 {
		t.Errorf("a retained message of who was there before: %#x", code)
	}
	for _, conn := range open {
		_ = conn.Close()
	}
	until(t, "new connections are taken again", func() bool {
		conn, err := net.Dial("tcp", s.at())
		if err != nil {
			return false
		}
		defer conn.Close()
		_, _ = conn.Write(connect)
		var head [4]byte
		_, err = io.ReadFull(conn, head[:])
		return err == nil && head[3] == 0
	})
}
