package crash

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// tiny mounts a file system of 128 MiB in memory.
func tiny(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=128m,mode=0700"); err != nil {
		t.Skipf("this process may not mount a small disk: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// ballast takes room on a disk, at most so many bytes, until it is removed.
func ballast(t *testing.T, dir string, size int64) (remove func()) {
	t.Helper()
	name := filepath.Join(dir, "ballast")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.CopyN(f, zeros{}, size)
	if err != nil && !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	_ = f.Close() // on a full disk it has nothing more to say
	return func() {
		if err := os.Remove(name); err != nil {
			t.Error(err)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

const (
	unwritable = "the store takes nothing new"
	writable   = "the store takes what comes again"
	refusals   = `fantail_messages_dropped_total{reason="store_failing"}`
)

// patient is a server whose disk fails, with a session that is away.
type patient struct {
	*server
	said    *journal
	sender  *sender // to the session
	witness *probe5 // a clean session, all the time
	retains string  // the last retained message that was acknowledged
}

func newPatient(t *testing.T, data string) *patient {
	t.Helper()
	s, said := newHost(t, data)
	s.running(t)
	enrol(t, s, "keeper", "keep/#")
	p := &patient{server: s, said: said, sender: newSender(t, s, "keep/it", 16<<10), witness: newProbe5(t, s, "clean/#")}
	p.sender.burst(t, 50)
	p.retain(t, "old")
	return p
}

// retain leaves a retained message, as soon as the server takes one.
func (p *patient) retain(t *testing.T, text string) {
	t.Helper()
	until(t, "a retained message is taken", func() bool { return p.witness.publish(t, "ret/x", text, true) < 0x80 })
	p.retains = text
}

// retained checks that the retained message is the last one acknowledged.
func (p *patient) retained(t *testing.T) {
	t.Helper()
	late := newProbe5(t, p.server, "ret/#")
	if got := await(t, late.came, "for the retained message"); got != p.retains {
		t.Errorf("the retained message is %q, want %q, which was acknowledged last", got, p.retains)
	}
}

// overfill publishes to the session until the store says that it fails.
func (p *patient) overfill(t *testing.T, mark int) (line string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	said := make(chan string, 1)
	go func() { // ends with ctx
		defer cancel()
		if line, err := p.said.await(ctx, mark, unwritable); err == nil {
			said <- line
		}
	}()
	for ctx.Err() == nil {
		if err := p.sender.send(ctx); err != nil && ctx.Err() == nil {
			t.Fatal(err)
		}
	}
	return await(t, said, "until the store fails")
}

// ails is what must hold while the disk fails.
func (p *patient) ails(t *testing.T) {
	t.Helper()
	before := p.counter(t, refusals)
	five := newProbe5(t, p.server)
	if code := five.publish(t, "keep/five", string(parcel(1, 100)), false); code != 0x97 {
		t.Errorf("a message to a durable session is answered with 0x%02X, want 0x97", code)
	}
	if code := five.publish(t, "ret/x", "new", true); code != 0x97 {
		t.Errorf("a retained message is answered with 0x%02X, want 0x97", code)
	}
	if code := five.publish(t, "clean/x", "to the witness", false); code != 0 {
		t.Errorf("a message to a clean session is answered with 0x%02X, want 0x00", code)
	}
	if got := await(t, p.witness.came, "for a message to a clean session"); got != "to the witness" {
		t.Errorf("%q came to the clean session", got)
	}
	p.retained(t)
	three := newProbe3(t, p.server)
	await(t, three.mqtt.Publish("clean/x", 1, false, "from 3.1.1").Done(), "for PUBACK")
	if heard := three.ear.heard.Load(); heard != 1 {
		t.Errorf("%d PUBACKs came for a message to a clean session, want 1", heard)
	}
	await(t, p.witness.came, "for a message to a clean session")
	three.mqtt.Publish("keep/three", 1, false, parcel(1, 100))
	await(t, three.lost, "for the end of the 3.1.1 connection")
	if heard := three.ear.heard.Load(); heard != 1 {
		t.Error("a PUBACK came for a message that was not stored")
	}
	// Counted when the round of the loop is over; those of the sender too.
	until(t, refusals+" has risen by 3", func() bool { return p.counter(t, refusals)-before >= 3 })
}

// heals is what must hold once the disk works again: everything sent is answered,
// and new messages are acknowledged.
func (p *patient) heals(t *testing.T, mark int) {
	t.Helper()
	p.said.awaited(t, mark, writable)
	p.sender.settle(t)
	p.retain(t, p.retains+"er")
	before, _ := p.sender.counts()
	p.sender.burst(t, 50)
	if after, refused := p.sender.counts(); after-before != 50 {
		t.Errorf("%d of 50 messages are acknowledged after the disk works again, %d refused so far", after-before, refused)
	}
}

// survives kills the server and looks for what it has acknowledged.
func (p *patient) survives(t *testing.T) {
	t.Helper()
	p.kill()
	p.running(t)
	d := drain(t, p.server, "keeper", "keep/it")
	d.complete(t, p.sender.acknowledged)
	p.retained(t)
	acknowledged, refused := p.sender.counts()
	t.Logf("%d acknowledged, %d refused with 0x97, %d delivered", acknowledged, refused, len(d.parcels))
}

func TestAFullDiskRefusesAndRecovers(t *testing.T) {
	disk := tiny(t)
	p := newPatient(t, filepath.Join(disk, "data"))

	remove := ballast(t, disk, 48<<20)
	mark := p.said.mark()
	t.Log(strings.TrimSpace(p.overfill(t, mark)))
	p.ails(t)
	remove()
	p.heals(t, mark)

	mark = p.said.mark()
	remove = ballast(t, disk, 128<<20) // to the last byte
	t.Log(strings.TrimSpace(p.overfill(t, mark)))
	p.ails(t)
	remove()
	p.heals(t, mark)
	p.survives(t)
}

// limit sets how far the server may write in any file.
func (p *patient) limit(t *testing.T, size uint64) {
	t.Helper()
	l := unix.Rlimit{Cur: size, Max: unix.RLIM_INFINITY}
	if err := unix.Prlimit(p.pid(), unix.RLIMIT_FSIZE, &l, nil); err != nil {
		t.Skipf("this process may not set limits: %v", err)
	}
}

func TestWriteErrorsRefuseAndRecover(t *testing.T) {
	for name, size := range map[string]uint64{"no file takes a byte": 0, "no file takes more than 4 KiB": 4 << 10} {
		t.Run(name, func(t *testing.T) {
			p := newPatient(t, filepath.Join(t.TempDir(), "data"))
			mark := p.said.mark()
			p.limit(t, size)
			t.Log(strings.TrimSpace(p.overfill(t, mark)))
			p.ails(t)
			p.limit(t, unix.RLIM_INFINITY)
			p.heals(t, mark)
			p.survives(t)
		})
	}
}

func TestADirectoryThatCannotBeWrittenIsRefused(t *testing.T) {
	disk := tiny(t)
	dir := filepath.Join(disk, "data")
	s, _ := newHost(t, dir)
	s.running(t)
	enrol(t, s, "a", topicOf("a"))
	s.kill()
	if err := unix.Mount("", disk, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Skipf("this process may not make a disk read-only: %v", err)
	}
	mustRefuse(t, dir, "cannot be written")
	said := refusal(t, filepath.Join(disk, "another"))
	if !strings.Contains(said, "cannot be created") || !strings.Contains(said, "--data") {
		t.Errorf("of a directory that cannot be made it says %q", said)
	}
}
