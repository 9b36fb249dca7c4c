// Package cli is the command line of Fantail.
//
// [Main] builds a tree of cobra commands, runs the one that was asked for and
// makes an exit status of its error: 0 for done, 1 for a failure of the
// network or the system, 2 for a mistake on the command line or in the
// configuration, 3 and 4 for what bench found wanting, 27 for a time limit that
// ran out (as mosquitto has it), and for what a broker refuses the code it
// refused with. Standard output is for data only; what happens is said on
// standard error.
//
// The client commands and passwd take the flags of mosquitto_pub,
// mosquitto_sub, mosquitto_rr and mosquitto_passwd with their meaning, and do
// their work under those names too, when the program is linked to them.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// The exit statuses that are not a reason code.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitAssertion   = 3 // what --assert of bench wants is not so
	exitFaulty      = 4 // bench has seen messages lost, repeated or out of order
	exitTimeout     = 27
	exitInterrupted = 130 // 128 + SIGINT, as shells have it
)

// env is what a command has to do with the outside.
type env struct {
	ctx    context.Context // ends with an interrupt
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
}

// say writes a line about what happens.
func (e *env) say(format string, args ...any) {
	fmt.Fprintf(e.stderr, format+"\n", args...)
}

// status is an error that ends the program with its own exit status.
type status struct {
	code int
	err  error // nil: there is nothing to say
}

func (s *status) Error() string {
	if s.err == nil {
		return fmt.Sprintf("exit status %d", s.code)
	}
	return s.err.Error()
}

func (s *status) Unwrap() error { return s.err }

// misuse is a mistake on the command line.
func misuse(format string, args ...any) error {
	return &status{code: exitUsage, err: fmt.Errorf(format, args...)}
}

// Main runs the program with args, the first of which is its name, and
// returns its exit status.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The first signal asks for an end in good order; a second one has its
	// usual effect again.
	context.AfterFunc(ctx, stop)
	return run(&env{ctx: ctx, stdin: stdin, stdout: stdout, stderr: stderr}, args)
}

func run(e *env, args []string) int {
	if len(args) == 0 {
		args = []string{"fantail"}
	}
	root := rootCommand(e)
	name := strings.TrimSuffix(filepath.Base(args[0]), ".exe")
	args = args[1:]
	if sub, ok := strings.CutPrefix(name, "mosquitto_"); ok {
		if cmd, err := linkedCommand(e, name, sub); err == nil {
			root = cmd
		}
	}
	root.SetIn(e.stdin)
	root.SetOut(e.stdout)
	root.SetErr(e.stderr)
	args, err := joinProperties(root, args)
	if err == nil {
		root.SetArgs(args)
		err = root.ExecuteContext(e.ctx)
	}
	return exitStatus(e, name, err)
}

// exitStatus says what err says, unless it only carries a status.
func exitStatus(e *env, name string, err error) int {
	if err == nil {
		return 0
	}
	var s *status
	if !errors.As(err, &s) {
		// cobra's own errors: an unknown command, flag or argument.
		s = &status{code: exitUsage, err: err}
	}
	if s.err != nil {
		fmt.Fprintf(e.stderr, "%s: %s\n", name, brief(s.err))
		if s.code == exitUsage {
			fmt.Fprintf(e.stderr, "The flag --help lists what can be given.\n")
		}
	}
	return s.code
}

func rootCommand(e *env) *cobra.Command {
	root := &cobra.Command{
		Use:           "fantail",
		Short:         "An MQTT broker and its tools",
		Long:          "Fantail is an MQTT broker for 3.1, 3.1.1 and 5.0, and the tools to talk to one.",
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.AddCommand(
		serverCommand(e),
		ctlCommand(e),
		pubCommand(e, asFantail),
		subCommand(e, asFantail),
		rrCommand(e, asFantail),
		benchCommand(e),
		passwdCommand(e, asFantail),
		certCommand(e),
		versionCommand(e),
	)
	return root
}

// guise is the name under which a client command runs: as mosquitto's, its
// defaults are mosquitto's.
type guise bool

const (
	asFantail   guise = false
	asMosquitto guise = true
)

// linkedCommand is the command for a link such as mosquitto_pub.
func linkedCommand(e *env, name, sub string) (*cobra.Command, error) {
	var cmd *cobra.Command
	switch sub {
	case "pub":
		cmd = pubCommand(e, asMosquitto)
	case "sub":
		cmd = subCommand(e, asMosquitto)
	case "rr":
		cmd = rrCommand(e, asMosquitto)
	case "passwd":
		cmd = passwdCommand(e, asMosquitto)
	default:
		return nil, fmt.Errorf("no command stands for %s", name)
	}
	cmd.Use = strings.Replace(cmd.Use, sub, name, 1)
	cmd.Example = strings.ReplaceAll(cmd.Example, "fantail "+sub, name)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	return cmd, nil
}
