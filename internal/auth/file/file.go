// Package file checks user names and passwords against a password file, which
// is mosquitto's: lines of name:hash, and comments.
//
// A file is taken as a whole or not at all. [New] and [File.Prepare] read it
// and name every mistake with its line; what was in force stays so until the
// new one is right. Only the text of each hash is kept, and read again when it
// is needed: a million users are some hundred megabytes.
//
// A name that is not in the file costs what one in it does: it is checked
// against the hash of a user that stands in for it, always the same for a name,
// and the result is thrown away. So an unknown name looks like a known one, also
// in a file with hashes of several kinds.
package file

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/fantail-mqtt/fantail/internal/access"
	"github.com/fantail-mqtt/fantail/internal/auth"
	"github.com/fantail-mqtt/fantail/internal/auth/hash"
	"github.com/fantail-mqtt/fantail/packet"
)

// Options say what a File needs.
type Options struct {
	Path string
	Pool *hash.Pool // computes the hashes
}

// File is a step of the authentication. Any number of goroutines may use it.
type File struct {
	o       Options
	name    string // of the file, for people
	seed    maphash.Seed
	current atomic.Pointer[table]
}

// table is a file as it was read. It does not change.
type table struct {
	entries []Entry
	index   map[string]int32
}

// New reads the file. The error is an *Error with every mistake, or says why
// the file cannot be read.
func New(o Options) (*File, error) {
	f := &File{o: o, name: filepath.Base(o.Path), seed: maphash.MakeSeed()}
	commit, err := f.Prepare()
	if err != nil {
		return nil, err
	}
	commit()
	return f, nil
}

// Prepare reads the file anew. The caller commits what was read, or drops it.
func (f *File) Prepare() (commit func(), err error) {
	text, err := Read(f.o.Path)
	if err != nil {
		return nil, err
	}
	entries, err := ParseDocument(text).Entries()
	if err != nil {
		if wrong, ok := errors.AsType[*Error](err); ok {
			wrong.File = f.o.Path
		}
		return nil, err
	}
	t := &table{entries: entries, index: make(map[string]int32, len(entries))}
	for i, e := range entries {
		t.index[e.Name] = int32(i)
	}
	return func() { f.current.Store(t) }, nil
}

// maxFile bounds what is taken for a password file.
const maxFile = 256 << 20

// Read returns the text of a password file.
func Read(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file: give the path of a password file", path)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, unreadable(path, err)
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s is larger than 256 MiB: this is no password file", path)
	}
	return text, nil
}

func unreadable(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no password file %s: make it with fantail passwd -c: %w", path, err)
	}
	return fmt.Errorf("the password file cannot be read: let this user read it, or correct the path: %w", err)
}

// Name implements auth.Step.
func (f *File) Name() string { return "password_file" }

// Concerns implements auth.Step.
func (f *File) Concerns(r *access.Request) bool {
	return r.HasUserName && len(f.current.Load().entries) > 0
}

// Check implements auth.Step.
func (f *File) Check(ctx context.Context, r *access.Request) auth.Answer {
	t := f.current.Load()
	if !r.HasUserName {
		return auth.Passed("the client shows no user name")
	}
	if len(t.entries) == 0 {
		return auth.Passed(f.name + " has no users")
	}
	e, known := t.find(r.UserName, f.seed)
	h, err := hash.Parse(e.Kept)
	if err != nil { // it was right when it was read
		return auth.Failure(fmt.Sprintf("line %d of %s: %v", e.Line, f.name, err), "")
	}
	switch ok, err := f.o.Pool.Check(ctx, h, r.Password); {
	case errors.Is(err, hash.ErrBusy):
		return auth.Failure(err.Error(), "let clients wait longer before they try again, or give them hashes that cost less (fantail passwd -H)")
	case err != nil:
		return auth.Failure("the check was given up: "+err.Error(), "")
	case !known:
		return auth.Passed("there is no such user in " + f.name)
	case !r.HasPassword:
		return auth.Denied(packet.BadUserNameOrPassword, "the client shows a user name and no password",
			fmt.Sprintf("give the client the password of line %d of %s", e.Line, f.name))
	case !ok:
		return auth.Denied(packet.BadUserNameOrPassword, fmt.Sprintf("the password is not that of line %d of %s", e.Line, f.name),
			"correct the password in the client, or set another with fantail passwd and reload")
	default:
		return auth.Allowed(f.grant(r.UserName, e), fmt.Sprintf("the password is that of line %d of %s", e.Line, f.name))
	}
}

// grant is that of a user, which holds as long as the file has the same hash for
// it, wherever the line stands. It keeps nothing of a file that is replaced.
func (f *File) grant(name string, e *Entry) access.Grant {
	kept := maphash.String(f.seed, e.Kept)
	return access.Grant{Still: func() bool {
		t := f.current.Load()
		i, there := t.index[name]
		return there && maphash.String(f.seed, t.entries[i].Kept) == kept
	}}
}

// find is the entry of a name, or of the one that stands in for it.
func (t *table) find(name string, seed maphash.Seed) (e *Entry, known bool) {
	standIn := int32(maphash.String(seed, name) % uint64(len(t.entries)))
	i, known := t.index[name]
	if !known {
		i = standIn
	}
	return &t.entries[i], known
}
