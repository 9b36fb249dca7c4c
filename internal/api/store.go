package api

import (
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/fantail-mqtt/fantail/internal/backup"
)

// Store is what the API asks of the store. Both may be called while the store
// is closed and behind that; a Checkpoint then ends with an error.
type Store interface {
	// Checkpoint makes a consistent copy in dir, which is not there yet, on the
	// file system of the store. It may wait for a disk that fails.
	Checkpoint(dir string) error
	Figures() Figures
}

// Paths of the API.
const (
	StorePath  = "/api/v1/store"
	BackupPath = "/api/v1/backup"
)

// FailureTrailer is the HTTP trailer that says why an answer ends before its
// end.
const FailureTrailer = "Fantail-Failure"

// Problem is the body of an answer that is an error: a sentence.
type Problem struct {
	Error string `json:"error"`
}

// stallTime is how long a backup waits for a client that takes nothing: its
// checkpoint keeps disk space from being reclaimed.
const stallTime = time.Minute

// storeAPI answers what is asked of the store.
type storeAPI struct {
	store   Store  // nil: the broker has none
	data    string // the data directory
	version string
	logger  *slog.Logger
	stall   time.Duration // stallTime

	backing sync.Mutex // held by the backup under way, of which there is one
}

func (s *storeAPI) routes(mux *http.ServeMux) {
	mux.HandleFunc("GET "+StorePath, s.stored(s.figures))
	mux.HandleFunc("POST "+BackupPath, s.stored(s.backup))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		refuse(w, http.StatusNotFound, "there is no "+r.Method+" "+r.URL.Path+" in this version")
	})
}

// stored lets a request pass if there is a store.
func (s *storeAPI) stored(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if s.store == nil {
			refuse(w, http.StatusConflict, "this broker keeps its state in memory and has no store: durability: fsync gives it one")
			return
		}
		next(w, r)
	}
}

func (s *storeAPI) figures(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, s.store.Figures())
}

// checkpointName is the folder in the data directory for the checkpoint that a
// backup is read from. What a killed process left there is removed.
const checkpointName = "checkpoint"

func (s *storeAPI) backup(w http.ResponseWriter, r *http.Request) {
	if !s.backing.TryLock() {
		refuse(w, http.StatusConflict, "another backup is under way: wait until it has ended")
		return
	}
	defer s.backing.Unlock()
	if f := s.store.Figures().Failing; f != nil {
		refuse(w, http.StatusServiceUnavailable, "the store takes nothing new, and so no backup: "+f.Why)
		return
	}
	dir := filepath.Join(s.data, checkpointName)
	err := os.RemoveAll(dir)
	if err == nil {
		err = s.store.Checkpoint(dir)
	}
	defer s.remove(dir)
	if err != nil {
		s.logger.Error("backup failed", slog.Any("err", err))
		refuse(w, http.StatusInternalServerError, "the store made no checkpoint: "+err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/x-tar")
	w.Header().Set("Trailer", FailureTrailer)
	out := &patient{w: w, control: http.NewResponseController(w), stall: s.stall}
	defer out.done()
	if err := backup.Write(out, dir, s.version, time.Now()); err != nil {
		s.logger.Error("backup failed", slog.Any("err", err), slog.Int64("bytes", out.bytes))
		if out.bytes == 0 {
			w.Header().Del("Trailer")
			refuse(w, http.StatusInternalServerError, "the backup cannot be written: "+err.Error())
			return
		}
		w.Header().Set(FailureTrailer, oneLine(err))
		return
	}
	s.logger.Info("backup written", slog.Int64("bytes", out.bytes))
}

func (s *storeAPI) remove(dir string) {
	if err := os.RemoveAll(dir); err != nil {
		s.logger.Error("checkpoint not removed", slog.Any("err", err))
	}
}

// patient gives up on a client that takes nothing for the time stall.
type patient struct {
	w       http.ResponseWriter
	control *http.ResponseController
	stall   time.Duration
	bytes   int64
}

func (p *patient) Write(b []byte) (int, error) {
	if err := p.control.SetWriteDeadline(time.Now().Add(p.stall)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	n, err := p.w.Write(b)
	p.bytes += int64(n)
	return n, err
}

// done lets the connection go on as it was.
func (p *patient) done() { _ = p.control.SetWriteDeadline(time.Time{}) }
