package client

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/gobwas/ws"
)

// once gives what it holds to the first Read and its error to all others.
type once struct {
	b   []byte
	err error
}

func (o *once) Read(p []byte) (int, error) {
	n := copy(p, o.b)
	if o.b = o.b[n:]; n == 0 {
		return 0, o.err
	}
	return n, nil
}

var errWaited = errors.New("it was waited for more")

func frames(list ...ws.Frame) []byte {
	var b bytes.Buffer
	for _, f := range list {
		if err := ws.WriteFrame(&b, f); err != nil {
			panic(err)
		}
	}
	return b.Bytes()
}

func TestReadTakesTheFramesThatHaveArrived(t *testing.T) {
	data := func(s string) ws.Frame { return ws.NewBinaryFrame([]byte(s)) }
	pong := ws.NewPongFrame(bytes.Repeat([]byte("."), 20))
	cases := map[string]struct {
		arrived []byte
		want    string
		then    error // of the second Read
	}{
		"one frame":                    {frames(data("one")), "one", errWaited},
		"two frames":                   {frames(data("one"), data("a second one, long")), "onea second one, long", errWaited},
		"one, and a part of another":   {frames(data("one"), data("a second one, long"))[:20], "onea second one,", errWaited},
		"one, and then only a control": {frames(data("one"), pong), "one", errWaited},
		"a control between":            {frames(data("one"), pong, data("a second one")), "onea second one", errWaited},
		"an empty one between":         {frames(data("one"), data(""), data("a second one")), "onea second one", errWaited},
		"the end behind one":           {frames(data("one"), ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusNormalClosure, "a reason why"))), "one", io.EOF},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			conn := &wsConn{r: bufio.NewReader(&once{c.arrived, errWaited})}
			b := make([]byte, 100)
			n, err := conn.Read(b)
			if err != nil || string(b[:n]) != c.want {
				t.Fatalf("read %q, %v; want %q", b[:n], err, c.want)
			}
			if n, err := conn.Read(b); n != 0 || !errors.Is(err, c.then) {
				t.Errorf("then read %q, %v; want %v", b[:n], err, c.then)
			}
		})
	}
}
