package cli

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/fantail-mqtt/fantail/internal/api"
	"github.com/fantail-mqtt/fantail/internal/backup"
)

func ctlBackupCommand(e *env, c *ctlFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "backup FILE",
		Short: "Write a backup of the store to a file, while the broker runs",
		Long: "Writes what the broker's store holds at this moment to FILE, which must not be there yet. Until it is whole and on the disk\n" +
			"its name is FILE.part. `fantail server --restore FILE` begins with it.",
		Example: "  fantail ctl backup /backups/$(date +%F).tar",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return misuse("give the one file to write the backup to")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if _, err := c.path(); err != nil {
				return err
			}
			return failed(c.backup(e, args[0]))
		},
	}
}

// failed gives err the status of a failure, unless it has one.
func failed(err error) error {
	var s *status
	if err == nil || errors.As(err, &s) {
		return err
	}
	return &status{exitFailed, err}
}

// backup writes the backup beside the file, and renames it once it is whole.
func (c *ctlFlags) backup(e *env, file string) error {
	if _, err := os.Lstat(file); err == nil {
		return fmt.Errorf("%s is there already: remove it, or choose another name", file)
	}
	part := file + ".part"
	out, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there: another backup writes it, or was killed: remove it once none does", part)
	}
	if err != nil {
		return fmt.Errorf("write the backup: %w", err)
	}
	taken, err := c.fetch(e, out)
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err == nil {
		err = publish(part, file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(part))
	}
	_, err = fmt.Fprintf(e.stdout, "file    %s\nholds   %s files, %s\nsize    %d\nsha256  %x\n", file, count(int64(taken.files)), inUnits(taken.bytes), taken.size, taken.sum)
	return err
}

// taken is a backup that has been written.
type taken struct {
	files int
	bytes int64 // in files
	size  int64 // of the backup
	sum   []byte
}

// fetch copies the broker's backup to out, and checks it on the way.
func (c *ctlFlags) fetch(e *env, out io.Writer) (taken, error) {
	resp, err := c.ask(e.ctx, http.MethodPost, api.BackupPath)
	if err != nil {
		return taken{}, err
	}
	defer resp.Body.Close()
	sum := sha256.New()
	buffered := bufio.NewWriterSize(out, 1<<20)
	copied := &copier{from: resp.Body, to: io.MultiWriter(buffered, sum)}
	b, err := backup.Open(copied)
	if err == nil {
		stop := showProgress(e, &copied.bytes, b.Info().Bytes())
		err = b.Verify()
		stop()
	}
	if err == nil {
		err = buffered.Flush()
	}
	if err != nil {
		return taken{}, whyNotWhole(e.ctx, resp, err)
	}
	return taken{files: len(b.Info().Files), bytes: b.Info().Bytes(), size: copied.bytes.Load(), sum: sum.Sum(nil)}, nil
}

// whyNotWhole is what the broker says of a backup that ended early, or else
// what was seen here.
func whyNotWhole(ctx context.Context, resp *http.Response, err error) error {
	if ctx.Err() != nil {
		return &status{code: exitInterrupted}
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) {
		return errors.New("the broker went away before the backup was whole: is it still running? Its log may tell")
	}
	if !errors.Is(err, backup.ErrDamaged) {
		return err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20)) // the trailer is behind it
	if text := resp.Trailer.Get(api.FailureTrailer); text != "" {
		return fmt.Errorf("the broker could not go on with the backup: %s", text)
	}
	return err
}

// copier is a reader that copies what is read.
type copier struct {
	from  io.Reader
	to    io.Writer
	bytes atomic.Int64
}

func (c *copier) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	if n > 0 {
		if _, err := c.to.Write(p[:n]); err != nil {
			return 0, fmt.Errorf("write the backup: %w", err)
		}
		c.bytes.Add(int64(n))
	}
	return n, err
}

// publish gives part its name, and puts that on the disk. A file that has come
// to be there meanwhile is not replaced.
func publish(part, file string) error {
	err := os.Link(part, file)
	switch {
	case err == nil:
		err = os.Remove(part)
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%s has come to be there meanwhile: remove it, or choose another name", file)
	default: // a file system without links
		err = os.Rename(part, file)
	}
	if err != nil {
		return err
	}
	return syncFolder(filepath.Dir(file))
}

// showProgress says on a terminal how far it is, until stop is called.
func showProgress(e *env, done *atomic.Int64, total int64) (stop func()) {
	if !isTerminal(e.stderr) {
		return func() {}
	}
	end, ended := make(chan struct{}), make(chan struct{})
	go func() { // ends with stop, which waits for it
		defer close(ended)
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				fmt.Fprint(e.stderr, progressLine(done.Load(), total))
			case <-end:
				fmt.Fprint(e.stderr, clearLine)
				return
			}
		}
	}()
	return func() {
		close(end)
		<-ended
	}
}

// clearLine goes to the beginning of the terminal's line and empties it.
const clearLine = "\r\x1b[K"

func progressLine(done, total int64) string {
	percent := int64(100)
	if total > 0 {
		percent = min(int64(float64(done)/float64(total)*100), 100)
	}
	return fmt.Sprintf(clearLine+"%s of %s (%d %%)", inUnits(done), inUnits(total), percent)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&fs.ModeCharDevice != 0
}
