package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"

	"github.com/fantail-mqtt/fantail/internal/backup"
	"github.com/fantail-mqtt/fantail/internal/lock"
)

// verify reads a backup and changes nothing.
func verify(ctx context.Context, file string) error {
	return withBackup(ctx, file, (*backup.Reader).Verify)
}

// restore makes a backup the store of the data directory, which nobody else
// has meanwhile.
func restore(ctx context.Context, file, data string, log *slog.Logger) error {
	return withBackup(ctx, file, func(b *backup.Reader) (err error) {
		l, err := lock.Acquire(data)
		if err != nil {
			return err
		}
		defer func() {
			if err != nil {
				err = errors.Join(err, l.Discard())
				return
			}
			err = l.Release()
		}()
		if err := b.Restore(data); err != nil {
			return err
		}
		i := b.Info()
		log.Info("backup restored", slog.String("file", file), slog.String("data", data), slog.Time("created", i.Created),
			slog.String("by", i.Fantail), slog.Int("files", len(i.Files)), slog.Int64("bytes", i.Bytes()))
		return nil
	})
}

// withBackup hands a backup to use. Its error is for the user.
func withBackup(ctx context.Context, file string, use func(*backup.Reader) error) error {
	in, err := os.Open(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &status{exitFailed, fmt.Errorf("--restore %s: there is no such file", file)}
	case errors.Is(err, fs.ErrPermission):
		return &status{exitFailed, fmt.Errorf("--restore %s: permission denied: let this user read it", file)}
	case err != nil:
		return &status{exitFailed, fmt.Errorf("--restore: %w", err)}
	}
	defer in.Close()
	b, err := backup.Open(bufio.NewReaderSize(&stoppable{ctx, in}, 1<<20))
	if err == nil {
		err = use(b)
	}
	if errors.Is(err, context.Canceled) {
		return &status{code: exitInterrupted}
	}
	if err != nil {
		return &status{exitFailed, fmt.Errorf("--restore %s: %w", file, err)}
	}
	return nil
}

// stoppable is a reader that fails once ctx has ended.
type stoppable struct {
	ctx context.Context
	r   io.Reader
}

func (s *stoppable) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.r.Read(p)
}
