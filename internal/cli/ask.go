package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// maxPassword is the longest password that CONNECT can carry.
const maxPassword = 65_535

// askPassword gets a password that is to be set: twice from a terminal, without
// showing it, or as the first line of standard input.
func askPassword(e *env) (string, error) {
	in, isFile := e.stdin.(*os.File)
	if !isFile || !term.IsTerminal(int(in.Fd())) {
		return linePassword(e.stdin)
	}
	password, err := hidden(e, in, "Password: ")
	if err != nil {
		return "", err
	}
	again, err := hidden(e, in, "The same again: ")
	if err != nil {
		return "", err
	}
	if password != again {
		return "", &status{exitFailed, errors.New("the two passwords differ: nothing is changed")}
	}
	return password, nil
}

// linePassword reads the first line.
func linePassword(in io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(in, maxPassword+2)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", &status{exitFailed, fmt.Errorf("read the password from standard input: %w", err)}
	}
	line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
	if len(line) > maxPassword {
		return "", misuse("the password is longer than %d bytes", maxPassword)
	}
	return line, nil
}

// hidden asks on the terminal. An interrupt leaves it as it was.
func hidden(e *env, in *os.File, prompt string) (string, error) {
	fd := int(in.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", &status{exitFailed, fmt.Errorf("ask for the password: %w", err)}
	}
	type answer struct {
		text []byte
		err  error
	}
	answers := make(chan answer, 1)
	fmt.Fprint(e.stderr, prompt)
	go func() { // ends with a line, or with the process
		text, err := term.ReadPassword(fd)
		answers <- answer{text, err}
	}()
	select {
	case a := <-answers:
		fmt.Fprintln(e.stderr)
		if a.err != nil {
			return "", &status{exitFailed, fmt.Errorf("ask for the password: %w", a.err)}
		}
		return string(a.text), nil
	case <-e.ctx.Done():
		_ = term.Restore(fd, before)
		fmt.Fprintln(e.stderr)
		return "", &status{code: exitInterrupted}
	}
}
