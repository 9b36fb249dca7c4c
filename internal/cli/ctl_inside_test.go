package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fantail-mqtt/fantail/internal/backup"
	"github.com/fantail-mqtt/fantail/internal/lock"
)

func TestNumbersAreReadable(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.00 KiB", 10_230: "9.99 KiB", 10_240: "10.0 KiB", 1_000_000: "977 KiB", 1_023_500: "0.98 MiB",
		1 << 40: "1.00 TiB", 1 << 60: "1048576 TiB",
	} {
		if got := inUnits(n); got != want {
			t.Errorf("inUnits(%d) = %q, want %q", n, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", -1000: "-1,000", -100: "-100", 1_234_567: "1,234,567"} {
		if got := count(n); got != want {
			t.Errorf("count(%d) = %q, want %q", n, got, want)
		}
	}
	if got, want := progressLine(512, 2048), clearLine+"512 B of 2.00 KiB (25 %)"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := progressLine(4096, 2048), clearLine+"4.00 KiB of 2.00 KiB (100 %)"; got != want { // with what is around the files
		t.Errorf("%q, want %q", got, want)
	}
}

func TestAFailingStoreIsShown(t *testing.T) {
	now := time.Date(2026, 11, 21, 10, 0, 9, 0, time.UTC)
	var out strings.Builder
	answer := `{"queued":{"oldest":null},"disk":{"free":-1},"damage":{"quarantined":1,"discarded":2000},"failures":2,"failing":{"since":"2026-11-21T10:00:00Z","why":"the disk is full"},"of a newer version":1}`
	if err := printStore(&out, strings.NewReader(answer), now); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"state          takes nothing new since 2026-11-21T10:00:00Z, 9s ago: the disk is full\n",
		"oldest queued  -\n", "free space unknown\n", "fsync          none yet\n",
		"damage         1 files quarantined and 2,000 sessions discarded at start, 0 corrupt reads since: the log has more\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
}

func TestAStoreThatFailedIsShown(t *testing.T) {
	var out strings.Builder
	if err := printStore(&out, strings.NewReader(`{"failures":3}`), time.Time{}); err != nil {
		t.Fatal(err)
	}
	if want := "state          good; it took nothing new 3 times, for a while\n"; !strings.HasSuffix(out.String(), want) {
		t.Errorf("%q is missing in\n%s", want, out.String())
	}
}

func TestARestoreWaitsForNobodyElsesDirectory(t *testing.T) {
	data := t.TempDir()
	l, err := lock.Acquire(data)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Release() }()
	err = restore(t.Context(), backupFile(t), data, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "is in use by process") {
		t.Errorf("err = %v", err)
	}
	if _, err := os.Stat(filepath.Join(data, backup.Folder)); err == nil {
		t.Error("it was restored")
	}
}

func TestARestoreCanBeInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	data := t.TempDir()
	var s *status
	err := restore(ctx, backupFile(t), data, slog.New(slog.DiscardHandler))
	if !errors.As(err, &s) || s.code != exitInterrupted {
		t.Errorf("err = %v", err)
	}
	if _, err := os.Stat(filepath.Join(data, backup.Folder)); err == nil {
		t.Error("it was restored")
	}
}

// A restore that is refused leaves no trace of a data directory that was not there.
func TestARefusedRestoreLeavesNothing(t *testing.T) {
	above := t.TempDir()
	file := filepath.Join(above, "cut.tar")
	text := backupText(t)
	if err := os.WriteFile(file, text[:len(text)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	if err := restore(t.Context(), file, filepath.Join(above, "deep", "data"), slog.New(slog.DiscardHandler)); err == nil {
		t.Error("it was restored")
	}
	if _, err := os.Lstat(filepath.Join(above, "deep")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory is left: %v", err)
	}
	there := filepath.Join(above, "there")
	if err := os.Mkdir(there, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := restore(t.Context(), file, there, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("it was restored")
	}
	if _, err := os.Lstat(there); err != nil {
		t.Errorf("a directory that was there is gone: %v", err)
	}
	if err := restore(t.Context(), backupFile(t), filepath.Join(above, "deep", "data"), slog.New(slog.DiscardHandler)); err != nil {
		t.Errorf("the whole one: %v", err)
	}
}

// backupText is a backup of one file of a MiB.
func backupText(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "000001.sst"), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := backup.Write(&b, dir, "v1", time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func backupFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "b.tar")
	if err := os.WriteFile(path, backupText(t), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// controlled is a socket behind which h answers, until the test ends.
func controlled(t *testing.T, h http.HandlerFunc) *ctlFlags {
	t.Helper()
	dir, err := os.MkdirTemp("", "ft") //nolint:usetesting // its path is too long for a socket, perhaps
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: h}
	ended := make(chan struct{})
	go func() { // ends with the test, which waits for it
		defer close(ended)
		_ = server.Serve(ln)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-ended
	})
	return &ctlFlags{socket: path}
}

// A backup that did not come whole leaves neither name.
func TestABackupThatIsNotWholeLeavesNothing(t *testing.T) {
	text := backupText(t)
	ctx, interrupt := context.WithCancel(t.Context())
	half := func(w http.ResponseWriter) {
		_, _ = w.Write(text[:len(text)/2])
		_ = http.NewResponseController(w).Flush()
	}
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"the broker is killed": {func(w http.ResponseWriter, _ *http.Request) {
			half(w)
			panic(http.ErrAbortHandler)
		}, "the broker went away before the backup was whole"},
		"the broker gives up": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "Fantail-Failure")
			half(w)
			w.Header().Set("Fantail-Failure", "the disk is on fire")
		}, "the broker could not go on with the backup: the disk is on fire"},
		"it ends early": {func(w http.ResponseWriter, _ *http.Request) { half(w) }, "cut short"},
		"a byte is another": {func(w http.ResponseWriter, _ *http.Request) {
			wrong := bytes.Clone(text)
			wrong[len(wrong)/2] ^= 1
			_, _ = w.Write(wrong)
		}, `the sum of "store/000001.sst" is wrong`},
		"it is interrupted": {func(w http.ResponseWriter, r *http.Request) {
			half(w)
			interrupt()
			<-r.Context().Done()
		}, "exit status 130"},
		"another program": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }, "no backup of Fantail"},
		"an odd refusal":  {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusTeapot) }, "418 I'm a teapot: is this the socket of a Fantail broker"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			e := &env{ctx: t.Context(), stdout: io.Discard, stderr: io.Discard}
			if strings.Contains(name, "interrupted") {
				e.ctx = ctx
			}
			err := controlled(t, c.answer).backup(e, filepath.Join(dir, "b.tar"))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("err = %v, want %q in it", err, c.want)
			}
			left, _ := os.ReadDir(dir)
			if len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// Who made the file while the backup was under way keeps it.
func TestABackupReplacesNoFileThatCameMeanwhile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "b.tar")
	text := backupText(t)
	c := controlled(t, func(w http.ResponseWriter, _ *http.Request) {
		if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
			t.Error(err)
		}
		_, _ = w.Write(text)
	})
	err := c.backup(&env{ctx: t.Context(), stdout: io.Discard, stderr: io.Discard}, file)
	if err == nil || !strings.Contains(err.Error(), "has come to be there meanwhile") {
		t.Errorf("err = %v", err)
	}
	if got, _ := os.ReadFile(file); string(got) != "precious" {
		t.Errorf("the file is %q", got)
	}
	if _, err := os.Stat(file + ".part"); err == nil {
		t.Error("the .part is still there")
	}
}
