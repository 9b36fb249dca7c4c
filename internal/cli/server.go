package cli

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/fantail-mqtt/fantail/internal/config"
)

// serverFlags are the flags of server. Each wins over the file.
type serverFlags struct {
	file, data, durability, level string
	restore                       string
	listen                        []string
	check, sandbox                bool
}

func serverCommand(e *env) *cobra.Command {
	var s serverFlags
	cmd := &cobra.Command{
		Use:   "server [--config FILE] [--data DIR] [--listen URL]... [--durability fsync|memory] [--log-level L] [--restore FILE] [--sandbox] [--check]",
		Short: "Run the broker",
		Long: "Runs the broker until it is interrupted. Once all listeners accept, it prints one line to standard output: ready, and\n" +
			"the addresses it serves. SIGHUP reads the configuration and the certificates again; SIGTERM ends it in good order.",
		Example: "  fantail server\n" +
			"  fantail server --config /etc/fantail.yaml --check\n" +
			"  fantail server --listen tcp://127.0.0.1:0 --durability memory\n" +
			"  fantail server --listen 'tls://0.0.0.0:8883?cert=server.pem&key=server.key'",
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error { return s.run(e) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&s.file, "config", "", "read the configuration from `FILE`")
	f.StringVar(&s.data, "data", "", "keep state in `DIR`, which belongs to this broker alone; without it: "+config.ServerData)
	f.StringArrayVar(&s.listen, "listen", nil, "serve `URL` in place of all configured addresses; may be repeated")
	f.StringVar(&s.durability, "durability", "", "`fsync|memory`: what an acknowledgement promises")
	f.StringVar(&s.level, "log-level", "", "log from this `LEVEL` on: debug, info, warn or error")
	f.StringVar(&s.restore, "restore", "", "begin with the backup in `FILE`; only where the data directory has no store yet")
	f.BoolVar(&s.sandbox, "sandbox", false, "be a public test broker, safe to open to strangers: what the configuration leaves out is set so")
	f.BoolVar(&s.check, "check", false, "only read the configuration, and the backup of --restore, name every mistake, and end")
	return cmd
}

func (s *serverFlags) run(e *env) error {
	c, err := s.load()
	if err != nil {
		return (&status{code: exitUsage}).saying(e, err)
	}
	if s.sandbox {
		printSandbox(e.stderr, c)
	}
	if s.check {
		return s.onlyCheck(e, c)
	}
	log := newLogger(e.stderr, c.Log)
	if s.restore != "" {
		if err := restore(e.ctx, s.restore, c.Data, log); err != nil {
			return err
		}
	}
	if err := s.serve(e, c, log); err != nil {
		return &status{exitFailed, err}
	}
	return nil
}

// onlyCheck is what is left to do with --check.
func (s *serverFlags) onlyCheck(e *env, c *config.Config) error {
	if c.Access.ACLFile != "" {
		if _, err := config.ReadACL(c.Access.ACLFile); err != nil {
			return (&status{code: exitUsage}).saying(e, err)
		}
	}
	if s.restore != "" {
		if err := verify(e.ctx, s.restore); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(e.stdout, "ok")
	return err
}

// saying writes err as it is, a line for each mistake, and is the rest of it.
func (s *status) saying(e *env, err error) error {
	fmt.Fprintln(e.stderr, err)
	return s
}

// load reads the file and lets the flags win over it. Its error has every
// mistake of both on a line of its own.
func (s *serverFlags) load() (*config.Config, error) {
	base := config.Defaults()
	if s.sandbox {
		base = config.Sandbox()
	}
	c := &base
	var wrong []error
	if s.file != "" {
		loaded, err := config.LoadOver(base, s.file)
		if err != nil {
			wrong = append(wrong, err)
		} else {
			c = loaded
		}
	}
	if s.data != "" {
		c.Data = s.data
	}
	if s.durability != "" {
		c.Durability = s.durability
	}
	if c.Data == "" && c.Durability != config.DurabilityMemory {
		c.Data = config.ServerData
	}
	if s.level != "" {
		c.Log.Level = s.level
	}
	if len(s.listen) > 0 {
		c.Listeners = nil
	}
	for _, text := range s.listen {
		l, err := config.ParseListener(text)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("--listen %w", err))
			continue
		}
		c.Listeners = append(c.Listeners, l)
	}
	if err := c.Validate(); err != nil {
		wrong = append(wrong, err)
	}
	if s.restore != "" && c.Durability == config.DurabilityMemory {
		wrong = append(wrong, errors.New("--restore: with durability: memory there is no store to restore: leave one of them out"))
	}
	if len(wrong) > 0 {
		return nil, errors.Join(wrong...)
	}
	filled := c.WithDefaults()
	return &filled, nil
}

// serve runs the broker until a signal ends it.
func (s *serverFlags) serve(e *env, c *config.Config, log *slog.Logger) error {
	if err := forbidDumps(); err != nil {
		log.Warn("cannot turn off core dumps, which would hold passwords and keys", slog.Any("err", err))
	}
	b, err := newBroker(c, log)
	if err != nil {
		return err
	}
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)
	ended := make(chan error, 1)
	go func() { // ends with e.ctx, or because the broker failed
		ended <- b.Run(e.ctx, func(addresses []string) {
			fmt.Fprintln(e.stdout, "ready "+strings.Join(addresses, " "))
		})
	}()
	for {
		select {
		case err := <-ended:
			return err
		case <-reload:
			s.reload(b, log)
		}
	}
}

// reload reads the configuration again. One with a mistake changes nothing.
func (s *serverFlags) reload(b *running, log *slog.Logger) {
	c, err := s.load()
	if err == nil {
		err = b.Reload(c)
	}
	if err != nil {
		log.Error("configuration not reloaded", slog.Any("err", err))
		return
	}
	log.Info("configuration reloaded")
}
