package api

import (
	"bytes"
	"context"
	"encoding/json"
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

	"github.com/google/go-cmp/cmp"

	"github.com/fantail-mqtt/fantail/internal/backup"
)

// folderStore is a store whose state is the files of a folder.
type folderStore struct {
	dir     string
	failing error
	full    *Failing
	holding chan struct{} // when not nil: a checkpoint says so here, and ends
	release chan struct{} // when this is closed
}

func (s *folderStore) Checkpoint(dir string) error {
	if s.holding != nil {
		s.holding <- struct{}{}
		<-s.release
	}
	if s.failing != nil {
		return s.failing
	}
	return os.CopyFS(dir, os.DirFS(s.dir))
}

func (s *folderStore) Figures() Figures {
	oldest := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	return Figures{
		Directory: s.dir, Disk: Disk{Bytes: 1 << 20, Log: 1 << 10, Free: -1}, Sessions: 3,
		Queued: Queued{Messages: 2, Bytes: 200, Sessions: 1, Oldest: &oldest}, Sync: Sync{P50: 0.001, P99: 0.002, Max: 0.5},
		Failures: 4, Damage: Damage{Quarantined: 1, Discarded: 2, Corruptions: 3}, Failing: s.full,
	}
}

func newFolderStore(t *testing.T) *folderStore {
	t.Helper()
	s := &folderStore{dir: t.TempDir()}
	for name, text := range map[string]string{"000004.log": strings.Repeat("records", 50_000), "MANIFEST-000001": "m"} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// open opens a control socket until the test ends. The path of t.TempDir may
// be too long for one.
func open(t *testing.T, store Store) (c *Control, data string) {
	t.Helper()
	data = shortDir(t)
	return openIn(t, data, store), data
}

func openIn(t *testing.T, data string, store Store) *Control {
	t.Helper()
	c, err := OpenControl(ControlOptions{Data: data, Store: store, Version: "v1.2.3", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ft") //nolint:usetesting // its path is too long for a socket, perhaps
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// reply is an answer whose body is closed when the test ends.
type reply struct{ *http.Response }

// ask sends a request over the socket.
func ask(t *testing.T, path, method, url string) reply {
	t.Helper()
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
	}
	r, err := http.NewRequestWithContext(t.Context(), method, "http://fantail"+url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return reply{resp}
}

func sentence(t *testing.T, r reply) string {
	t.Helper()
	var p Problem
	if err := json.NewDecoder(r.Body).Decode(&p); err != nil {
		t.Fatal(err)
	}
	return p.Error
}

func TestTheFiguresOfTheStore(t *testing.T) {
	store := newFolderStore(t)
	store.full = &Failing{Since: time.Unix(1_790_000_000, 0).UTC(), Why: "the disk is full"}
	c, _ := open(t, store)
	r := ask(t, c.Path(), "GET", StorePath)
	if r.StatusCode != http.StatusOK || r.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%s, %s", r.Status, r.Header.Get("Content-Type"))
	}
	var got Figures
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(store.Figures(), got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestABackupOverTheSocketIsTheStore(t *testing.T) {
	store := newFolderStore(t)
	c, data := open(t, store)
	r := ask(t, c.Path(), "POST", BackupPath)
	if r.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", r.Status, sentence(t, r))
	}
	b, err := backup.Open(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	restored := t.TempDir()
	if err := b.Restore(restored); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"000004.log", "MANIFEST-000001"} {
		want, _ := os.ReadFile(filepath.Join(store.dir, name))
		got, err := os.ReadFile(filepath.Join(restored, "store", name))
		if err != nil || !bytes.Equal(want, got) || len(want) == 0 {
			t.Errorf("%s: %d bytes, %v, want %d", name, len(got), err, len(want))
		}
	}
	if b.Info().Fantail != "v1.2.3" {
		t.Errorf("version %q", b.Info().Fantail)
	}
	if text := r.Trailer.Get(FailureTrailer); text != "" {
		t.Errorf("trailer %q", text)
	}
	c.Close()
	if left := names(t, data); len(left) > 0 {
		t.Errorf("left in the data directory: %v", left)
	}
}

func names(t *testing.T, dir string) (list []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func TestABrokerWithoutAStoreSaysSo(t *testing.T) {
	c, _ := open(t, nil)
	for _, url := range []string{"GET " + StorePath, "POST " + BackupPath} {
		method, path, _ := strings.Cut(url, " ")
		r := ask(t, c.Path(), method, path)
		if r.StatusCode != http.StatusConflict {
			t.Errorf("%s: %s", url, r.Status)
		}
		if text := sentence(t, r); !strings.Contains(text, "keeps its state in memory") {
			t.Errorf("%s: %s", url, text)
		}
	}
}

func TestWhatIsNotThereIsSaid(t *testing.T) {
	c, _ := open(t, newFolderStore(t))
	for _, url := range []string{"GET /api/v1/nothing", "POST " + StorePath, "GET " + BackupPath} {
		method, path, _ := strings.Cut(url, " ")
		r := ask(t, c.Path(), method, path)
		if text := sentence(t, r); r.StatusCode != http.StatusNotFound || !strings.Contains(text, url) {
			t.Errorf("%s: %s: %s", url, r.Status, text)
		}
	}
}

func TestAFailedCheckpointIsAnAnswer(t *testing.T) {
	store := newFolderStore(t)
	store.failing = errors.New("no space left on device")
	c, data := open(t, store)
	r := ask(t, c.Path(), "POST", BackupPath)
	if text := sentence(t, r); r.StatusCode != http.StatusInternalServerError || !strings.Contains(text, "no space left on device") {
		t.Errorf("%s: %s", r.Status, text)
	}
	if diff := cmp.Diff([]string{SocketName}, names(t, data)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// A checkpoint would wait for the disk, without a word to the client.
func TestAFailingStoreMakesNoBackup(t *testing.T) {
	store := newFolderStore(t)
	store.full = &Failing{Why: "the disk is full"}
	c, _ := open(t, store)
	r := ask(t, c.Path(), "POST", BackupPath)
	if text := sentence(t, r); r.StatusCode != http.StatusServiceUnavailable || !strings.Contains(text, "the disk is full") {
		t.Errorf("%s: %s", r.Status, text)
	}
}

func TestWhatCannotBeBackedUpIsAnAnswer(t *testing.T) {
	c, _ := open(t, linked{newFolderStore(t)})
	r := ask(t, c.Path(), "POST", BackupPath)
	if text := sentence(t, r); r.StatusCode != http.StatusInternalServerError || !strings.Contains(text, "a-link is no regular file") {
		t.Errorf("%s: %s", r.Status, text)
	}
}

// The status has been sent when the failure comes: the trailer tells why.
func TestABackupThatFailsOnTheWaySaysWhy(t *testing.T) {
	store := newFolderStore(t)
	grow(t, filepath.Join(store.dir, "big.sst"))
	c, data := open(t, store)
	r := ask(t, c.Path(), "POST", BackupPath)
	b, err := backup.Open(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	// The handler waits for this client to take more.
	if err := os.Truncate(filepath.Join(data, checkpointName, "big.sst"), 1); err != nil {
		t.Fatal(err)
	}
	if err := b.Verify(); !errors.Is(err, backup.ErrDamaged) {
		t.Errorf("err = %v, want ErrDamaged", err)
	}
	_, _ = io.Copy(io.Discard, r.Body)
	if text := r.Trailer.Get(FailureTrailer); text != "back up store/big.sst: it has become shorter meanwhile" {
		t.Errorf("trailer %q", text)
	}
}

// grow makes a file that is larger than what sockets hold.
func grow(t *testing.T, path string) {
	t.Helper()
	big, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(big.Truncate(64<<20), big.Close()); err != nil {
		t.Fatal(err)
	}
}

// linked is a store whose checkpoint has something that cannot be backed up.
type linked struct{ *folderStore }

func (l linked) Checkpoint(dir string) error {
	if err := l.folderStore.Checkpoint(dir); err != nil {
		return err
	}
	return os.Symlink("nowhere", filepath.Join(dir, "a-link"))
}

func TestOneBackupAtATime(t *testing.T) {
	store := newFolderStore(t)
	store.holding, store.release = make(chan struct{}), make(chan struct{})
	c, _ := open(t, store)
	first := make(chan int, 1)
	go func() { // ends when the checkpoint is released
		r := ask(t, c.Path(), "POST", BackupPath)
		_, _ = io.Copy(io.Discard, r.Body)
		first <- r.StatusCode
	}()
	<-store.holding
	r := ask(t, c.Path(), "POST", BackupPath)
	if text := sentence(t, r); r.StatusCode != http.StatusConflict || !strings.Contains(text, "under way") {
		t.Errorf("%s: %s", r.Status, text)
	}
	close(store.release)
	if status := <-first; status != http.StatusOK {
		t.Errorf("the first one: %d", status)
	}
}

// Nothing of it may be left in the directory once another process can have it.
func TestCloseWaitsForACheckpoint(t *testing.T) {
	store := newFolderStore(t)
	store.holding, store.release = make(chan struct{}), make(chan struct{})
	c, data := open(t, store)
	go func() { // ends when its connection is cut
		nc, err := net.Dial("unix", c.Path())
		if err != nil {
			return
		}
		defer nc.Close()
		_, _ = io.WriteString(nc, "POST "+BackupPath+" HTTP/1.1\r\nHost: a\r\n\r\n")
		_, _ = io.Copy(io.Discard, nc)
	}()
	<-store.holding
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		c.Close()
	}()
	select {
	case <-closed:
		t.Fatal("Close did not wait")
	case <-time.After(1200 * time.Millisecond): // longer than it is polite
	}
	close(store.release)
	<-closed
	if left := names(t, data); len(left) > 0 {
		t.Errorf("left in the data directory: %v", left)
	}
}

// A client that takes nothing keeps disk space from being reclaimed.
func TestAClientThatStallsIsCutOff(t *testing.T) {
	dir := shortDir(t)
	store := newFolderStore(t)
	grow(t, filepath.Join(store.dir, "big.sst"))
	mux := http.NewServeMux()
	(&storeAPI{store: store, data: dir, logger: slog.New(slog.DiscardHandler), stall: 50 * time.Millisecond}).routes(mux)
	ended := make(chan struct{})
	server := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		mux.ServeHTTP(w, r)
	})}
	ln, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(ln) }() // ends with Close
	defer server.Close()
	nc, err := net.Dial("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := io.WriteString(nc, "POST "+BackupPath+" HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("it waits for ever")
	}
	if _, err := os.Stat(filepath.Join(dir, checkpointName)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the checkpoint is still there: %v", err)
	}
}

func TestTheSocketIsForItsOwner(t *testing.T) {
	c, data := open(t, nil)
	info, err := os.Stat(c.Path())
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	if diff := cmp.Diff([]string{SocketName}, names(t, data)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestWhatAKilledProcessLeftIsReplaced(t *testing.T) {
	data := shortDir(t)
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(data, SocketName), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{".control/s", "checkpoint/000001.sst"} {
		if err := os.Mkdir(filepath.Join(data, filepath.Dir(name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(data, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := openIn(t, data, nil)
	if r := ask(t, c.Path(), "GET", StorePath); r.StatusCode != http.StatusConflict {
		t.Error(r.Status)
	}
	if diff := cmp.Diff([]string{SocketName}, names(t, data)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	c.Close()
	if left := names(t, data); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestWhereThereCanBeNoSocketASentenceSaysSo(t *testing.T) {
	occupied := shortDir(t)
	if err := os.WriteFile(filepath.Join(occupied, SocketName), []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ data, want string }{
		"a path too long":                 {filepath.Join(shortDir(t), strings.Repeat("d", 100)), "bytes and may have 103: choose a data directory with a shorter path"},
		"a file in its place":             {occupied, "there is a file that is no socket: remove it"},
		"no data directory":               {filepath.Join(occupied, "none"), "let this user write to"},
		"a data directory that is a file": {filepath.Join(occupied, SocketName), "not a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := OpenControl(ControlOptions{Data: c.data, Logger: slog.New(slog.DiscardHandler)})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("err = %v, want %q in it", err, c.want)
			}
		})
	}
	if text, _ := os.ReadFile(filepath.Join(occupied, SocketName)); string(text) != "precious" {
		t.Errorf("the file is %q", text)
	}
}
