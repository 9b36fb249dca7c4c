package cli_test

import (
	"maps"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/fantail-mqtt/fantail/internal/cli"
)

func TestMain(m *testing.M) {
	program := func() { os.Exit(cli.Main(os.Args, os.Stdin, os.Stdout, os.Stderr)) }
	testscript.Main(m, map[string]func(){
		"fantail":          program,
		"mosquitto_pub":    program,
		"mosquitto_sub":    program,
		"mosquitto_rr":     program,
		"mosquitto_passwd": program,
	})
}

func TestScripts(t *testing.T) {
	known := startBroker(t).env()
	maps.Copy(known, ctlEnv(t))
	known["PROXY"] = startSocks(t, &socks{})
	known["CLOSEDPROXY"] = startSocks(t, &socks{user: "ann", password: "p@ss"})
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			for name, value := range known {
				e.Setenv(name, value)
			}
			return nil
		},
		Cmds:               map[string]func(*testscript.TestScript, bool, []string){"status": checkStatus, "cut": cut, "fill": fill},
		RequireUniqueNames: true,
	})
}

// checkStatus runs a program and compares its exit status: status 2 fantail pub
func checkStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N PROGRAM ARGS...")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if err != nil {
		got = exitCode(err)
	}
	if got != args[0] {
		ts.Fatalf("exit status %s, want %s", got, args[0])
	}
}

// cut copies the first two thirds of a file: cut WHOLE PART
func cut(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: cut WHOLE PART")
	}
	text := ts.ReadFile(args[0])
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(text[:len(text)*2/3]), 0o600))
}

// fill copies a file and puts values in place of $NAME: fill TEMPLATE FILE
func fill(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: fill TEMPLATE FILE")
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(os.Expand(ts.ReadFile(args[0]), ts.Getenv)), 0o600))
}
