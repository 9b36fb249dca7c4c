package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/fantail-mqtt/fantail/internal/api"
	"github.com/fantail-mqtt/fantail/internal/config"
)

// ctlFlags say which broker it is.
type ctlFlags struct{ data, socket string }

func ctlCommand(e *env) *cobra.Command {
	var c ctlFlags
	cmd := &cobra.Command{
		Use:   "ctl [--data DIR | --socket PATH] COMMAND",
		Short: "Ask a running broker, or have it do something",
		Long: "Speaks with the broker that runs with the data directory, over the socket " + api.SocketName + " in it. Only the user that the\n" +
			"broker runs as may open it, and root.",
		Example: "  fantail ctl store\n" +
			"  fantail ctl --data /var/lib/fantail backup /backups/$(date +%F).tar",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return misuse("unknown command %q for %q", args[0], cmd.CommandPath())
			}
			return cmd.Help()
		},
	}
	f := cmd.PersistentFlags()
	f.SortFlags = false
	f.StringVar(&c.data, "data", "", "the broker runs with the data directory `DIR`; default "+config.ServerData)
	f.StringVar(&c.socket, "socket", "", "its control socket is at `PATH`")
	cmd.AddCommand(ctlStoreCommand(e, &c), ctlBackupCommand(e, &c), ctlExplainCommand(e, &c), ctlBanCommand(e, &c),
		ctlUserCommand(e, &c), ctlDeviceCommand(e, &c), ctlACLCommand(e, &c))
	return cmd
}

// path is the socket.
func (c *ctlFlags) path() (string, error) {
	if c.data != "" && c.socket != "" {
		return "", misuse("--data and --socket exclude one another")
	}
	path := c.socket
	if path == "" {
		path = filepath.Join(cmp.Or(c.data, config.ServerData), api.SocketName)
	}
	return path, nil
}

// ask sends a request and returns the answer, if it is no refusal.
func (c *ctlFlags) ask(ctx context.Context, method, url string) (*http.Response, error) {
	return c.send(ctx, method, url, nil)
}

// tell sends a request with a body of JSON, and reads the answer into out, if
// that is not nil.
func (c *ctlFlags) tell(ctx context.Context, method, url string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	resp, err := c.send(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return &status{exitFailed, fmt.Errorf("read the answer of the broker: %w", err)}
	}
	return nil
}

// send is ask with a body.
func (c *ctlFlags) send(ctx context.Context, method, url string, body io.Reader) (*http.Response, error) {
	path, err := c.path()
	if err != nil {
		return nil, err
	}
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
	}}
	r, err := http.NewRequestWithContext(ctx, method, "http://fantail"+url, body)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(r)
	if err != nil {
		return nil, c.explain(path, err)
	}
	if resp.StatusCode/100 != 2 {
		defer resp.Body.Close()
		return nil, &status{exitFailed, refusedBy(path, resp)}
	}
	return resp, nil
}

// refusedBy is the sentence of an answer that is a refusal.
func refusedBy(path string, resp *http.Response) error {
	var p api.Problem
	err := json.NewDecoder(io.LimitReader(resp.Body, 1<<16)).Decode(&p)
	if err != nil || p.Error == "" {
		return fmt.Errorf("%s: %s: is this the socket of a Fantail broker, of the version of this program?", path, resp.Status)
	}
	return errors.New(p.Error)
}

// explain says why nobody answered, and what to do.
func (c *ctlFlags) explain(path string, err error) error {
	if errors.Is(err, context.Canceled) {
		return &status{code: exitInterrupted}
	}
	var advice string
	switch {
	case api.CheckSocketPath(path) != nil:
		err = api.CheckSocketPath(path)
		return &status{exitFailed, fmt.Errorf("%w, or give a shorter way to it (a relative one, perhaps)", err)}
	case errors.Is(err, fs.ErrPermission):
		advice = "permission denied: run this as the user that the broker runs as"
	case errors.Is(err, fs.ErrNotExist) && c.socket == "" && missing(filepath.Dir(path)):
		advice = fmt.Sprintf("there is no data directory %s: give the broker's with --data", filepath.Dir(path))
	case errors.Is(err, fs.ErrNotExist) && c.socket == "":
		advice = "no broker runs with this data directory: start it, or give another with --data"
	case errors.Is(err, fs.ErrNotExist):
		advice = "there is no such socket: is the broker running?"
	case errors.Is(err, syscall.ECONNREFUSED):
		advice = "the broker that had this socket has ended: start it again"
	default:
		return &status{exitFailed, fmt.Errorf("ask the broker at %s: %w", path, err)}
	}
	return &status{exitFailed, fmt.Errorf("ask the broker at %s: %s", path, advice)}
}

func missing(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}
