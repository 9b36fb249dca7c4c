package cli_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fantail-mqtt/fantail"
	"github.com/fantail-mqtt/fantail/internal/cli"
	"github.com/fantail-mqtt/fantail/internal/config"
)

// foreign is the path of one of mosquitto's programs. PATH has ours under some
// of their names.
func foreign(t *testing.T, program, debian string) string {
	t.Helper()
	for _, dir := range []string{"/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"} {
		path := filepath.Join(dir, program)
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	t.Fatalf("no %s: install %s (apt-get install %s); make test does", program, debian, debian)
	return ""
}

// fantailRuns runs the program in this process, and wants it to succeed.
func fantailRuns(t *testing.T, stdin string, args ...string) (stdout, stderr string) {
	t.Helper()
	var out, said bytes.Buffer
	if code := cli.Main(append([]string{"fantail"}, args...), strings.NewReader(stdin), &out, &said); code != 0 {
		t.Fatalf("fantail %q: exit status %d: %s", args, code, said.String())
	}
	return out.String(), said.String()
}

func theirs(t *testing.T, path string, args ...string) error {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %q: %w: %s", filepath.Base(path), args, err, out)
	}
	return nil
}

// A file that both programs have written to is one for both brokers.
func TestPasswordFilesAreMosquittosBothWays(t *testing.T) {
	mosquittoPasswd := foreign(t, "mosquitto_passwd", "mosquitto")
	path := filepath.Join(t.TempDir(), "passwd")
	fantailRuns(t, "one\n", "passwd", "-c", "-H", "sha512-pbkdf2", path, "ann")
	if err := theirs(t, mosquittoPasswd, "-b", path, "bob", "two"); err != nil {
		t.Fatal(err)
	}
	fantailRuns(t, "", "passwd", "-b", "-H", "sha512", path, "carl", "three words here")
	if err := theirs(t, mosquittoPasswd, "-H", "sha512", "-b", path, "dora", "fünf"); err != nil {
		t.Fatal(err)
	}
	fantailRuns(t, "", "passwd", "-b", "-H", "sha512-pbkdf2", path, "eve", "gone")
	if err := theirs(t, mosquittoPasswd, "-D", path, "eve"); err != nil {
		t.Fatal(err)
	}
	if err := theirs(t, mosquittoPasswd, "-b", path, "fred", "gone"); err != nil {
		t.Fatal(err)
	}
	fantailRuns(t, "", "passwd", "-D", path, "fred")

	logins := map[[2]string]bool{
		{"ann", "one"}: true, {"bob", "two"}: true, {"carl", "three words here"}: true, {"dora", "fünf"}: true,
		{"ann", "two"}: false, {"bob", ""}: false, {"eve", "gone"}: false, {"fred", "gone"}: false,
	}
	ours := run(t, fantail.Config{Auth: fantail.Auth{
		Chain: []config.Step{{PasswordFile: &config.StepPasswordFile{Path: path}}},
	}}, "tcp://127.0.0.1:0")[0]
	for broker, port := range map[string]int{"fantail": ours, "mosquitto": startMosquitto(t, "password_file "+path)} {
		for login, want := range logins {
			err := theirs(t, foreign(t, "mosquitto_pub", "mosquitto-clients"), "-h", "127.0.0.1", "-p", strconv.Itoa(port),
				"-u", login[0], "-P", login[1], "-t", "a", "-m", "x", "-q", "1")
			if (err == nil) != want {
				t.Errorf("%s lets %q in: %v, want %v (%v)", broker, login, err == nil, want, err)
			}
		}
	}
	// mosquitto_passwd keeps what it does not know.
	fantailRuns(t, "", "passwd", "-b", path, "gina", "six")
	if err := theirs(t, mosquittoPasswd, "-b", path, "hugo", "seven"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(text), "\ngina:$argon2id$") || !strings.Contains(string(text), "\nhugo:$7$101$") {
		t.Errorf("%v\n%s", err, text)
	}
}

// startMosquitto runs mosquitto until the test ends, and returns its port.
func startMosquitto(t *testing.T, lines ...string) int {
	t.Helper()
	port := freePorts(t, 1)[0]
	conf := filepath.Join(t.TempDir(), "mosquitto.conf")
	text := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous false\n%s\n", port, strings.Join(lines, "\n"))
	if os.Geteuid() == 0 {
		text = "user root\n" + text // or it cannot read what is ours
	}
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(foreign(t, "mosquitto", "mosquitto"), "-c", conf, "-v")
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	var said strings.Builder
	for lines := bufio.NewScanner(log); lines.Scan(); {
		said.WriteString(lines.Text() + "\n")
		if strings.HasSuffix(lines.Text(), " running") {
			go func() { _, _ = io.Copy(io.Discard, log) }() // until it ends
			return port
		}
	}
	t.Fatalf("mosquitto does not run: %s", said.String())
	return 0
}

// terminal opens a pseudo-terminal: the keyboard and screen of a person, and
// the terminal of a program.
func terminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = person.Close() })
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetUint32(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = program.Close() })
	return person, program
}

// typist writes a line whenever the program asks for one, and does not show
// what is typed.
type typist struct {
	keyboard io.Writer
	terminal *os.File
	lines    []string
	typing   sync.WaitGroup
	said     bytes.Buffer
}

func (p *typist) Write(b []byte) (int, error) {
	p.said.Write(b)
	if !bytes.HasSuffix(b, []byte(": ")) || len(p.lines) == 0 {
		return len(b), nil
	}
	line := p.lines[0]
	p.lines = p.lines[1:]
	p.typing.Go(func() { // ends with the line; the program reads it
		for end := time.Now().Add(20 * time.Second); p.shows() && time.Now().Before(end); {
			runtime.Gosched()
		}
		if line == interrupt {
			_ = unix.Kill(os.Getpid(), unix.SIGINT) // Main takes it
			return
		}
		_, _ = io.WriteString(p.keyboard, line+"\n")
	})
	return len(b), nil
}

// interrupt is what a person types who gives up.
const interrupt = "^C"

// shows says whether the terminal shows what is typed.
func (p *typist) shows() bool {
	state, err := unix.IoctlGetTermios(int(p.terminal.Fd()), unix.TCGETS)
	return err == nil && state.Lflag&unix.ECHO != 0
}

func TestAPasswordTypedOnATerminalIsNotShown(outer *testing.T) {
	t := outer
	path := filepath.Join(t.TempDir(), "passwd")
	for name, c := range map[string]struct {
		lines  []string
		status int
		want   string
	}{
		"twice the same":  {[]string{"pencil", "pencil"}, 0, "is added"},
		"two that differ": {[]string{"pencil", "pencils"}, 1, "differ"},
		"nothing":         {[]string{"", ""}, 2, "empty"},
		"^C":              {[]string{interrupt}, 130, "Password: \n"},
		"^C later":        {[]string{"pencil", interrupt}, 130, "The same again: \n"},
	} {
		t.Run(name, func(t *testing.T) {
			// It is open until all are done: who was interrupted may put it in order
			// later, by a descriptor that must not be that of another one by then.
			person, program := terminal(outer)
			before, err := unix.IoctlGetTermios(int(program.Fd()), unix.TCGETS)
			if err != nil {
				t.Fatal(err)
			}
			typing := &typist{keyboard: person, terminal: program, lines: c.lines}
			got := cli.Main([]string{"fantail", "passwd", "-c", "-H", "sha512", path, "ann"}, program, io.Discard, typing)
			typing.typing.Wait()
			if c.status == 130 {
				_, _ = io.WriteString(person, "\n") // ends what still reads
			}
			if got != c.status || !strings.Contains(typing.said.String(), c.want) {
				t.Errorf("exit status %d: %s", got, typing.said.String())
			}
			after, err := unix.IoctlGetTermios(int(program.Fd()), unix.TCGETS)
			if err != nil || *after != *before {
				t.Errorf("the terminal is left as %+v, was %+v (%v)", after, before, err)
			}
			_, _ = program.WriteString("end") // what was shown comes before it
			shown, err := bufio.NewReader(person).ReadString('d')
			if err != nil || strings.Contains(shown, "pencil") {
				t.Errorf("the terminal shows %q (%v)", shown, err)
			}
		})
	}
}
