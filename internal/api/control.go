package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// SocketName is the control socket in a data directory.
const SocketName = "fantail.sock"

// maxSocketPath is what fits into a socket address on all systems (104 bytes
// with its end on macOS and the BSDs, 108 on Linux).
const maxSocketPath = 103

// CheckSocketPath says in a sentence if a socket cannot have this path.
func CheckSocketPath(path string) error {
	if len(path) <= maxSocketPath {
		return nil
	}
	return fmt.Errorf("the control socket's path %s has %d bytes and may have %d: choose a data directory with a shorter path", path, len(path), maxSocketPath)
}

// ControlOptions of the control socket.
type ControlOptions struct {
	// Data is the data directory. This process has its lock.
	Data    string
	Store   Store // nil: the broker has none
	Explain func(context.Context, *Question) (*Explained, error)
	Bans    Bans // nil: none can be made
	Version string
	Logger  *slog.Logger
	// Users and Devices are managed at run time; nil: there is no such collection.
	Users, Devices Collection
	Rules          Collection  // access rules of run time
	Access         AccessRules // all of them; nil: no rules are served
}

// Control is the control socket: the API for who may open it, the broker's own
// user.
type Control struct {
	path    string
	http    http.Server
	serving chan struct{}

	mu     sync.Mutex // guards the rest
	closed bool
	asked  sync.WaitGroup // requests under way
}

// OpenControl serves the API on the control socket until Close.
func OpenControl(o ControlOptions) (*Control, error) {
	c := &Control{path: filepath.Join(o.Data, SocketName), serving: make(chan struct{})}
	ln, err := listenPrivately(o.Data, c.path)
	if err != nil {
		return nil, err
	}
	// What a killed process left.
	if err := os.RemoveAll(filepath.Join(o.Data, checkpointName)); err != nil {
		o.Logger.Error("checkpoint not removed", slog.Any("err", err))
	}
	mux := http.NewServeMux()
	(&storeAPI{store: o.Store, data: o.Data, version: o.Version, logger: o.Logger, stall: stallTime}).routes(mux)
	if o.Users != nil {
		collection{o.Users}.routes(mux, UsersPath, ExportUsersPath)
	}
	if o.Devices != nil {
		collection{o.Devices}.routes(mux, DevicesPath, ExportDevicesPath)
	}
	if o.Access != nil {
		rulesAPI{o.Access, o.Rules}.routes(mux)
	}
	explainer(o.Explain).routes(mux)
	if o.Bans != nil {
		(&bansAPI{o.Bans}).routes(mux)
	}
	c.http.Handler = c.counted(mux)
	c.http.ReadHeaderTimeout = 10 * time.Second
	c.http.ErrorLog = slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug)
	go func() { // ends with Close, which waits for it
		defer close(c.serving)
		_ = c.http.Serve(ln)
	}()
	return c, nil
}

// counted lets Close wait for what is under way.
func (c *Control) counted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		if c.closed {
			c.mu.Unlock()
			refuse(w, http.StatusServiceUnavailable, "the broker is shutting down")
			return
		}
		c.asked.Add(1)
		c.mu.Unlock()
		defer c.asked.Done()
		next.ServeHTTP(w, r)
	})
}

// Path is where the socket is.
func (c *Control) Path() string { return c.path }

// Close removes the socket, lets the requests under way end for a second, cuts
// off their clients, and returns once they have noticed. The store is closed
// before: that ends a checkpoint that waits for a failing disk.
func (c *Control) Close() {
	_ = os.Remove(c.path)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := c.http.Shutdown(ctx); errors.Is(err, context.DeadlineExceeded) {
		_ = c.http.Close()
	}
	<-c.serving
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.asked.Wait()
}

// privateName is the folder in which the socket is made.
const privateName = ".control"

// listenPrivately listens at path, which only this user can ever open. A socket
// begins with the permissions that the umask leaves, so it is made in a folder
// that is closed to others, and moved from there when it is closed itself. That
// also puts it in the place of one that a killed process left: this process has
// the directory's lock, so nobody listens there.
func listenPrivately(data, path string) (net.Listener, error) {
	if err := CheckSocketPath(path); err != nil {
		return nil, err
	}
	info, err := os.Lstat(path)
	if err == nil && info.Mode()&fs.ModeSocket == 0 {
		return nil, fmt.Errorf("control socket %s: there is a file that is no socket: remove it", path)
	}
	folder := filepath.Join(data, privateName)
	ln, err := listenInside(folder, path)
	if err := errors.Join(err, os.RemoveAll(folder)); err != nil {
		if ln != nil {
			_ = ln.Close()
		}
		return nil, fmt.Errorf("control socket %s: %w: let this user write to %s, on a file system that has sockets", path, err, data)
	}
	return ln, nil
}

func listenInside(folder, path string) (net.Listener, error) {
	if err := os.RemoveAll(folder); err != nil { // left by a killed process
		return nil, err
	}
	if err := os.Mkdir(folder, 0o700); err != nil {
		return nil, err
	}
	inside := filepath.Join(folder, "s") // no longer than path
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: inside, Net: "unix"})
	if err != nil {
		return nil, err
	}
	ln.SetUnlinkOnClose(false) // it has another name then
	err = os.Chmod(inside, 0o600)
	if err == nil {
		err = os.Rename(inside, path)
	}
	if err != nil {
		_ = ln.Close()
		return nil, err
	}
	return ln, nil
}
