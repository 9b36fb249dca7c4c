package listen

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"

	"github.com/gobwas/ws"

	"github.com/fantail-mqtt/fantail/internal/loop"
)

// webSocket is the layer of WebSocket frames. A payload goes up as it comes,
// piece by piece, unmasked where it lies: MQTT packets need not align with
// frames [MQTT-6.0.0-2], so nothing is put together here.
type webSocket struct {
	layer
	lower   loop.Conn
	buffers *buffers

	// owned by the loop
	mask       [4]byte
	at         int   // position in mask
	left       int64 // payload bytes of the frame that are still to come
	fragmented bool  // a message goes on in the next data frame
	ponging    bool  // a pong has not left yet
	pong       []byte
}

// maxFrame is the longest frame, one largest MQTT packet.
const maxFrame = 1<<28 + 4

// Data takes in frames.
func (w *webSocket) Data(l loop.Local, b []byte) int {
	all := len(b)
	for len(b) > 0 && !w.stopped() {
		n := 0
		if w.left > 0 {
			n = w.payload(l, b)
		} else {
			n = w.frame(b)
		}
		if n == 0 {
			break // the rest of a header or of a control frame has to come
		}
		b = b[n:]
	}
	if w.ended.Load() {
		return all
	}
	if !w.paused {
		w.lower.Resume(l) // the handler may have paused and resumed
	}
	return all - len(b)
}

// payload gives up what is there of the frame.
func (w *webSocket) payload(l loop.Local, b []byte) int {
	n := int(min(w.left, int64(len(b))))
	ws.Cipher(b[:n], w.mask, w.at)
	w.at = (w.at + n) & 3
	w.left -= int64(n)
	w.give(l, b[:n])
	return n
}

// frame takes a header, or a control frame as a whole, once it is there.
func (w *webSocket) frame(b []byte) int {
	h, n := parseHeader(b)
	if n == 0 {
		return 0
	}
	if code, detail := w.wrong(h); detail != "" {
		w.fail(code, detail)
		return n
	}
	if !h.OpCode.IsControl() {
		w.mask, w.at, w.left, w.fragmented = h.Mask, 0, h.Length, !h.Fin
		return n
	}
	size := n + int(h.Length)
	if len(b) < size {
		return 0
	}
	ws.Cipher(b[n:size], h.Mask, 0)
	w.control(h.OpCode, b[n:size])
	return size
}

// wrong says what is wrong with a frame, if anything.
func (w *webSocket) wrong(h ws.Header) (code ws.StatusCode, detail string) {
	state := ws.StateServerSide
	if w.fragmented {
		state = state.Set(ws.StateFragmented)
	}
	switch err := ws.CheckHeader(h, state); {
	case err != nil:
		return ws.StatusProtocolError, err.Error()
	case h.OpCode == ws.OpText: // [MQTT-6.0.0-1]
		return ws.StatusUnsupportedData, "MQTT is for binary frames, and a text frame came: let the client send binary ones"
	case h.Length > maxFrame:
		return ws.StatusMessageTooBig, fmt.Sprintf("a frame of %d bytes came: no MQTT packet is as long", h.Length)
	}
	return 0, ""
}

// fail ends the connection over the client's mistake.
func (w *webSocket) fail(code ws.StatusCode, detail string) {
	w.ended.Store(true)
	w.lower.Finish(closeFrame(code), &Fault{Reason: ReasonWebSocket, Detail: "WebSocket: " + detail})
}

func (w *webSocket) control(op ws.OpCode, body []byte) {
	if op == ws.OpPing {
		w.answer(body)
	}
	if op == ws.OpClose {
		w.closed(body)
	}
}

// answer sends a pong, but not a second one behind one that did not leave: a
// client that sends pings and reads nothing would fill the memory. The last
// ping is answered later [RFC 6455, 5.5.3].
func (w *webSocket) answer(body []byte) {
	if w.ponging {
		w.pong = append(w.pong[:0], body...)
		if w.pong == nil {
			w.pong = []byte{}
		}
		return
	}
	w.ponging = !w.lower.Write(append(appendHeader(nil, ws.OpPong, len(body)), body...))
}

// closed answers the client's close frame with its own code.
func (w *webSocket) closed(body []byte) {
	code, reason := ws.ParseCloseFrameData(body)
	if len(body) == 0 {
		code = ws.StatusNormalClosure
	} else if err := ws.CheckCloseFrameData(code, reason); err != nil {
		w.fail(ws.StatusProtocolError, err.Error())
		return
	}
	w.ended.Store(true)
	w.lower.Finish(closeFrame(code), io.EOF)
}

// Writable sends the pong that had to wait, and passes on that all has left.
func (w *webSocket) Writable(l loop.Local) {
	w.ponging = false
	if w.pong != nil {
		body := w.pong
		w.pong = nil
		w.answer(body)
	}
	if w.unblocked() {
		w.handler.Writable(l)
	}
}

func (w *webSocket) Closed(l loop.Local, err error) {
	w.in = nil
	w.handler.Closed(l, err)
}

// Write sends MQTT packets, each in a binary frame of its own: some clients do
// not look for a second packet in a frame. A large packet over TLS also begins
// a record of its own.
func (w *webSocket) Write(b []byte) bool {
	if len(b) == 0 {
		return true
	}
	w.writing.Lock()
	defer w.writing.Unlock()
	frames, _ := w.buffers.frames.Get().(*[]byte)
	*frames = w.gather((*frames)[:0], b)
	flushed := w.lower.Write(*frames)
	if cap(*frames) <= maxKept {
		w.buffers.frames.Put(frames)
	}
	w.owed = w.owed || !flushed
	return flushed
}

// gather puts packets into frames, appended to frames, and returns those that
// are still to be written: it has written all up to a large packet. The caller
// holds w.writing.
func (w *webSocket) gather(frames, b []byte) []byte {
	_, secured := w.lower.(*secure)
	for len(b) > 0 {
		n := firstPacket(b)
		if secured && n > largePacket && len(frames) > 0 {
			w.owed = !w.lower.Write(frames) || w.owed
			frames = frames[:0]
		}
		frames = append(appendHeader(frames, ws.OpBinary, n), b[:n]...)
		b = b[n:]
	}
	return frames
}

func (w *webSocket) Finish(b []byte, err error) {
	w.ended.Store(true)
	w.writing.Lock()
	var frames []byte
	if len(b) > 0 {
		frames = w.gather(nil, b)
	}
	w.lower.Finish(append(frames, closeFrame(ws.StatusNormalClosure)...), err)
	w.writing.Unlock()
}

func (w *webSocket) Close(err error) {
	w.ended.Store(true)
	w.lower.Close(err)
}

func (w *webSocket) Post(f func(loop.Local)) { w.lower.Post(f) }

func (w *webSocket) RemoteAddr() net.Addr { return w.lower.RemoteAddr() }

func (w *webSocket) Pause() {
	w.paused = true
	w.lower.Pause()
}

func (w *webSocket) Resume(l loop.Local) {
	if !w.paused {
		return
	}
	w.paused = false
	if w.giving { // whoever gives goes on
		w.resumed = true
		return
	}
	w.give(l, nil)
	if !w.stopped() {
		w.lower.Resume(l)
	}
}

// parseHeader reads a frame's header; n is 0 if it is not all there.
func parseHeader(b []byte) (h ws.Header, n int) {
	if len(b) < 2 {
		return h, 0
	}
	h.Fin = b[0]&0x80 != 0
	h.Rsv = b[0] >> 4 & 7
	h.OpCode = ws.OpCode(b[0] & 0xf)
	h.Masked = b[1]&0x80 != 0
	h.Length = int64(b[1] & 0x7f)
	n = 2
	switch h.Length {
	case 126:
		n += 2
	case 127:
		n += 8
	}
	mask := n
	if h.Masked {
		n += 4
	}
	if len(b) < n {
		return h, 0
	}
	switch h.Length {
	case 126:
		h.Length = int64(binary.BigEndian.Uint16(b[2:]))
	case 127:
		// The first bit has to be 0; a wrong one is beyond every limit.
		h.Length = int64(binary.BigEndian.Uint64(b[2:]) & (1<<63 - 1))
		if b[2]&0x80 != 0 {
			h.Length = 1<<63 - 1
		}
	}
	if h.Masked {
		copy(h.Mask[:], b[mask:])
	}
	return h, n
}

// appendHeader appends the header of an unmasked, whole frame.
func appendHeader(dst []byte, op ws.OpCode, length int) []byte {
	dst = append(dst, 0x80|byte(op))
	switch {
	case length < 126:
		return append(dst, byte(length))
	case length < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, 126), uint16(length))
	}
	return binary.BigEndian.AppendUint64(append(dst, 127), uint64(length))
}

func closeFrame(code ws.StatusCode) []byte {
	return binary.BigEndian.AppendUint16(appendHeader(nil, ws.OpClose, 2), uint16(code))
}
