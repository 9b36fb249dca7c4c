package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"

	"github.com/fantail-mqtt/fantail/internal/record"
)

// reader is what the translator needs of a database that is open.
type reader interface {
	get(key []byte, use func(value []byte) error) error // pebble.ErrNotFound if there is none
	chunksFrom(prefix []byte, seq uint64, each func(c chunk, value func() ([]byte, error)) bool) error
}

// translator turns frames into batches. It is owned by the committer. Reading
// a record it writes what is a key of its own at once; what concerns a queue it
// gathers by session, and writes when the frame is at its end, so that what
// came and went within the frame is never written.
type translator struct {
	db       reader
	log      *slog.Logger
	batch    *pebble.Batch
	sessions map[string]*session
	last     *session // of the record before
	shared   shared

	// Of the frame that is being translated.
	frame   []byte
	bodies  []body
	inForce int32
	touched []*session
	faults  int

	key, value []byte // scratch
	idle       int    // sessions without messages, as of the last sweep
	records    uint64
	backlogs   int // sessions with messages on disk
}

// body is a message that stands apart in the frame.
type body struct {
	record  []byte // aliases the frame
	size    int    // by message.Message.Size
	expires int64  // unix milliseconds; 0: never
	users   int    // messages of this frame that have it and stay
	id      uint64 // of the shared body; 0: inline
}

const (
	inlineUsers = 4  // a body of no more users than this is inline in their queues
	inlineSize  = 64 // so is one whose record is no longer than this
	idleKept    = 16384
)

func newTranslator(log *slog.Logger) *translator {
	return &translator{log: log, sessions: make(map[string]*session), shared: newShared()}
}

// translate appends what a frame changes to a batch. A frame that cannot be
// read was not made by this process: nothing can be said about it, and nobody
// may rely on it.
func (t *translator) translate(db reader, frame []byte, batch *pebble.Batch) error {
	t.db, t.batch, t.frame = db, batch, frame
	t.bodies, t.touched, t.inForce, t.last = t.bodies[:0], t.touched[:0], -1, nil
	var raw record.Raw
	for at := 0; at < len(frame); {
		n, err := record.Scan(frame[at:], &raw)
		if err != nil {
			return fmt.Errorf("at byte %d of a frame: %w", at, err)
		}
		if err := t.record(&raw, frame[at:at+n]); err != nil {
			return fmt.Errorf("%s, at byte %d of a frame: %w", raw.Kind, at, err)
		}
		t.records++
		at += n
	}
	return t.end()
}

func (t *translator) record(raw *record.Raw, b []byte) error {
	switch raw.Kind {
	case record.KindBody:
		t.bodies = append(t.bodies, body{record: b, size: raw.Size, expires: raw.Expires})
		t.inForce = int32(len(t.bodies) - 1)
		return nil
	case record.KindUse:
		if raw.Use >= len(t.bodies) {
			return errors.New("no such body")
		}
		t.inForce = int32(raw.Use)
		return nil
	case record.KindQueued, record.KindSent, record.KindReleased, record.KindAcked:
		return t.queue(raw)
	case record.KindReceived, record.KindCompleted:
		return t.receive(raw)
	case record.KindExpired:
		return t.expire(b)
	default:
		return t.plain(raw, b)
	}
}

// plain carries out a record that is the value of a key as it is, or removes one.
func (t *translator) plain(raw *record.Raw, b []byte) error {
	switch raw.Kind {
	case record.KindRetained:
		return t.set(t.retained(raw.Name), b)
	case record.KindRetainCleared:
		return t.delete(t.retained(raw.Name))
	case record.KindSettingPut:
		return t.set(t.setting(raw), b)
	case record.KindSettingGone:
		return t.delete(t.setting(raw))
	default:
	}
	t.key = append(append(append(t.key[:0], keySession), raw.Client...), 0)
	switch raw.Kind {
	case record.KindSessionOpened:
		n := len(t.key)
		if err := t.delete(append(t.key, tagClosed)); err != nil {
			return err
		}
		return t.set(append(t.key[:n], tagOpened), b)
	case record.KindSessionClosed:
		return t.set(append(t.key, tagClosed), b)
	case record.KindSubscribed:
		return t.set(append(append(t.key, tagSubscribed), raw.Name...), b)
	case record.KindUnsubscribed:
		return t.delete(append(append(t.key, tagSubscribed), raw.Name...))
	case record.KindWillArmed:
		return t.set(append(t.key, tagWill), b)
	case record.KindWillGone:
		return t.delete(append(t.key, tagWill))
	case record.KindSessionEnded:
		return t.endSession(raw.Client)
	default:
		return errors.New("not known to the store")
	}
}

func (t *translator) retained(topic []byte) []byte {
	return append(append(t.key[:0], keyRetained), topic...)
}

// setting is the key of a setting. A space holds no U+0000.
func (t *translator) setting(raw *record.Raw) []byte {
	return append(append(append(append(t.key[:0], keySetting), raw.Space...), 0), raw.Name...)
}

// set and delete keep the key's memory for the next one.
func (t *translator) set(key, value []byte) error {
	t.key = key
	return t.batch.Set(key, value, nil)
}

func (t *translator) delete(key []byte) error {
	t.key = key
	return t.batch.Delete(key, nil)
}

// session is the client of a record, from now on to be looked at when the
// frame ends.
func (t *translator) session(client []byte) *session {
	s := t.last
	if s == nil || s.client != string(client) {
		if s = t.sessions[string(client)]; s == nil {
			s = &session{client: string(client), prefix: sessionPrefix(string(client))}
			t.sessions[s.client] = s
			t.idle++
		}
		t.last = s
	}
	if !s.touched {
		s.touched = true
		t.touched = append(t.touched, s)
	}
	return s
}

func (t *translator) queue(raw *record.Raw) error {
	s := t.session(raw.Client)
	var fits bool
	switch raw.Kind {
	case record.KindQueued:
		return t.enqueue(s, raw)
	case record.KindSent:
		fits = s.sent(raw.Seq, raw.ID, raw.Size)
	case record.KindReleased:
		fits = s.release(raw.Seq)
	default:
		return t.finish(s, raw.Seq, raw.Size)
	}
	if !fits {
		t.fault(raw)
	}
	return nil
}

// fault reports a record that does not fit the state: a mistake of ours, which
// must not stop everything else.
func (t *translator) fault(raw *record.Raw) {
	t.faults++
	t.log.Error("a record does not fit what is stored", slog.String("record", raw.Kind.String()),
		slog.String("client", string(raw.Client)), slog.Uint64("seq", raw.Seq))
}

func (t *translator) enqueue(s *session, raw *record.Raw) error {
	last := s.last()
	if raw.Seq <= last {
		t.fault(raw)
		return nil
	}
	it := item{seq: raw.Seq, rest: raw.Rest, body: -1}
	if raw.HasBody {
		if t.inForce < 0 {
			return errors.New("no body stands before it")
		}
		it.body = t.inForce
		t.bodies[t.inForce].users++
	}
	s.items = append(s.items, it)
	if raw.ID != 0 {
		s.sent(raw.Seq, raw.ID, 0)
	}
	return nil
}

// last is the highest seq of the queue, as far as it matters for what may follow.
func (s *session) last() uint64 {
	if n := len(s.items); n > 0 {
		return s.items[n-1].seq
	}
	return s.known
}

func (t *translator) finish(s *session, seq uint64, size int) error {
	it := s.item(seq)
	if it != nil && !it.dead {
		it.dead = true
		if it.body >= 0 {
			t.bodies[it.body].users--
		}
	}
	if s.finish(seq) {
		return nil
	}
	if it != nil && seq != s.unsent {
		return nil // it came and went in this frame, so that nobody will look for it
	}
	if it == nil && seq >= s.unsent {
		s.left.add(1, size)
	}
	return t.skip(s, seq)
}

func (t *translator) receive(raw *record.Raw) error {
	s := t.session(raw.Client)
	if raw.Kind == record.KindReceived {
		s.received = append(s.received, raw.ID)
		return nil
	}
	for i, id := range s.received {
		if id == raw.ID { // it came and went in this frame
			s.received[i] = s.received[len(s.received)-1]
			s.received = s.received[:len(s.received)-1]
			return nil
		}
	}
	return t.delete(receivedKey(t.key[:0], s.prefix, raw.ID))
}

// end writes what was gathered.
func (t *translator) end() error {
	for _, s := range t.touched {
		if err := t.write(s); err != nil {
			return fmt.Errorf("client %q: %w", s.client, err)
		}
	}
	if err := t.shared.write(t); err != nil {
		return err
	}
	if t.idle > idleKept {
		t.sweep()
	}
	return nil
}

func (t *translator) write(s *session) error {
	s.touched = false
	defer func() {
		t.backlogs += btoi(!s.idle()) - btoi(s.counts)
		s.counts, s.expired = !s.idle(), s.expired[:0]
	}()
	for _, id := range s.received {
		if err := t.set(receivedKey(t.key[:0], s.prefix, id), nil); err != nil {
			return err
		}
	}
	s.received = s.received[:0]
	if s.moved {
		if err := t.reclaim(s); err != nil {
			return err
		}
	}
	if err := t.append(s); err != nil {
		return err
	}
	return t.place(s)
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// place writes how far the queue has come, if that has changed.
func (t *translator) place(s *session) error {
	if !s.moved {
		return nil
	}
	s.moved = false
	if len(s.gone) == 0 {
		s.gone = nil
	}
	t.key = tagged(t.key[:0], s.prefix, tagPosition)
	if s.idle() {
		s.sum, s.left = total{}, total{}
		if !s.placed {
			return nil
		}
		s.placed = false
		return t.delete(t.key)
	}
	s.placed = true
	t.value = s.appendTo(t.value[:0])
	return t.set(t.key, t.value)
}

// append writes the messages of this frame that are still there.
func (t *translator) append(s *session) error {
	for from := 0; from < len(s.items); {
		next, err := t.chunk(s, from)
		if err != nil {
			return err
		}
		from = next
	}
	s.items = s.items[:0]
	return nil
}

// chunk writes one chunk of the items that begin at from, and returns where
// the next one begins.
func (t *translator) chunk(s *session, from int) (int, error) {
	c := chunk{}
	life := life{}
	v := t.value[:0]
	bodies, before, sum, i := 0, uint64(0), s.sum, from
	const room = 2 * binary.MaxVarintLen64 // for the sum, which comes last and stands first
	v = append(v, make([]byte, room)...)
	for ; i < len(s.items) && len(v) < chunkCap; i++ {
		it := &s.items[i]
		if it.dead {
			continue
		}
		v = binary.AppendUvarint(v, it.seq-before)
		v = append(v, it.rest...)
		before, c.last = it.seq, it.seq
		if it.body < 0 {
			s.join(&sum, it.seq, 0)
			life.item(it.seq, 0)
			continue
		}
		b := &t.bodies[it.body]
		s.join(&sum, it.seq, b.size)
		life.item(it.seq, b.expires)
		if b.users <= inlineUsers || len(b.record) <= inlineSize {
			v = binary.AppendUvarint(v, uint64(len(b.record)))
			v = append(v, b.record...)
			continue
		}
		c.body = t.shared.add(b)
		bodies++
		v = append(v, 0)
		v = binary.BigEndian.AppendUint64(v, b.id)
	}
	t.value = v
	if sum.messages == s.sum.messages {
		return i, nil
	}
	c.expires = life.end
	run := record.Run{First: life.first, Last: c.last, Messages: int(sum.messages - s.sum.messages), Bytes: int(sum.bytes - s.sum.bytes)}
	s.sum = sum
	c.refers = bodies > 0
	if bodies > 1 {
		c.body = 0
	}
	s.add(c)
	head := sum.append(make([]byte, 0, room))
	start := room - len(head)
	copy(v[start:], head)
	if err := t.set(chunkKey(t.key[:0], s.prefix, c), v[start:]); err != nil {
		return 0, err
	}
	return i, t.expireBy(s, c, run)
}

// join counts an item among those on disk.
func (s *session) join(sum *total, seq uint64, size int) {
	sum.add(1, size)
	if seq < s.unsent {
		s.left.add(1, size)
	}
}

func (s *session) add(c chunk) {
	s.known = c.last
	if s.more || len(s.chunks) >= knownChunks {
		s.more = true
		return
	}
	s.chunks = append(s.chunks, c)
	s.looked = c.last + 1
}

// sweep forgets sessions that have nothing on disk.
func (t *translator) sweep() {
	t.last = nil
	for client, s := range t.sessions {
		if s.idle() {
			delete(t.sessions, client)
		}
	}
	t.idle = 0
}
