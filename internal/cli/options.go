package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// optionFile is where the options are that a client command takes besides those of
// its command line; empty: nowhere. Under mosquitto's name that is mosquitto's own
// file.
func optionFile(command string, as guise) string {
	folder := os.Getenv("XDG_CONFIG_HOME")
	if !filepath.IsAbs(folder) { // as the XDG Base Directory Specification has it
		home, err := os.UserHomeDir()
		if err != nil {
			return ""
		}
		folder = filepath.Join(home, ".config")
	}
	if as == asMosquitto {
		return filepath.Join(folder, "mosquitto_"+command)
	}
	return filepath.Join(folder, "fantail", command)
}

// takeOptions takes the options of the file, as far as the command line has not
// said something else.
func takeOptions(cmd *cobra.Command, as guise) error {
	name, _, _ := strings.Cut(cmd.Use, " ")
	path := optionFile(strings.TrimPrefix(name, "mosquitto_"), as)
	if path == "" {
		return nil
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return &status{exitFailed, fmt.Errorf("read the options: %w", err)}
	}
	o := &options{cmd: cmd, given: map[string]bool{}}
	cmd.Flags().Visit(func(f *pflag.Flag) { o.given[f.Name] = true })
	for i, line := range strings.Split(string(text), "\n") {
		if err := o.take(strings.TrimSpace(line)); err != nil {
			return misuse("%s:%d: %v", path, i+1, err)
		}
	}
	return nil
}

// options are those of a file.
type options struct {
	cmd   *cobra.Command
	given map[string]bool // on the command line
}

// take takes one line: an option, and behind it its value as it is, without quotes.
func (o *options) take(line string) error {
	if line == "" || line[0] == '#' {
		return nil
	}
	if line[0] != '-' {
		return errors.New("this is no option; write one as on the command line, such as -h broker.example") // it may be a password
	}
	flags := o.cmd.Flags()
	list, more := words(flags, line)
	args, err := joinProperties(o.cmd, list)
	if err != nil {
		return err
	}
	err = flags.ParseAll(args, func(f *pflag.Flag, value string) error {
		if o.outdone(f) {
			return nil
		}
		return flags.Set(f.Name, value)
	})
	if err != nil {
		return err
	}
	if more || flags.NArg() > 0 {
		return fmt.Errorf("%s takes no value, and there is one option to a line", args[0])
	}
	return nil
}

// words are an option and its value; of a property there are several. More is
// behind an option that takes none.
func words(flags *pflag.FlagSet, line string) (list []string, more bool) {
	first, rest := cutWord(line)
	glued, isProperty, takesNext := lookAt(flags, first)
	n := 0 // words behind it
	switch {
	case isProperty && glued == "":
		n = 3 // -D publish content-type text/plain
		if f := strings.Fields(rest); len(f) > 1 && f[1] == "user-property" {
			n = 4
		}
	case takesNext:
		n = 1
	case hasValue(flags, first):
		return []string{line}, false
	}
	list = []string{first}
	for rest != "" && len(list) < n {
		first, rest = cutWord(rest)
		list = append(list, first)
	}
	if rest != "" && n > 0 {
		return append(list, rest), false
	}
	return list, rest != ""
}

// cutWord is the first word of a line, and what comes after it.
func cutWord(line string) (word, rest string) {
	i := strings.IndexAny(line, " \t")
	if i < 0 {
		return line, ""
	}
	return line[:i], strings.TrimLeft(line[i:], " \t")
}

// hasValue says whether the value of an option is glued to it: --host=h, -hh.
func hasValue(flags *pflag.FlagSet, option string) bool {
	if strings.HasPrefix(option, "--") {
		return strings.Contains(option, "=")
	}
	for i := 1; i < len(option); i++ {
		if f := flags.ShorthandLookup(option[i : i+1]); f != nil && f.NoOptDefVal == "" {
			return true
		}
	}
	return false
}

// outdone says whether the command line has said something else: the same option
// with another value, or one that excludes it. What may be repeated adds up.
func (o *options) outdone(f *pflag.Flag) bool {
	switch f.Value.(type) {
	case pflag.SliceValue, *propertyList:
		return false
	}
	if o.given[f.Name] {
		return true
	}
	return slices.ContainsFunc(outdoing(f.Name), func(name string) bool { return o.given[name] })
}

// outdoing are the options of the command line that take the place of another one
// in the file. Those that would leave a half of it do not: to give a port, or a user,
// beside a URL is a mistake.
func outdoing(name string) []string {
	payloads := []string{"message", "file", "null-message", "stdin-file", "stdin-line"}
	switch name {
	case "url":
		return []string{"host", "unix"}
	case "host", "port":
		return []string{"url", "unix"}
	case "unix":
		return []string{"url", "host", "port", "proxy"}
	case "username", "pw":
		return []string{"url"}
	case "proxy":
		return []string{"unix"}
	case "id":
		return []string{"id-prefix"}
	case "id-prefix":
		return []string{"id"}
	}
	if slices.Contains(payloads, name) {
		return payloads
	}
	return nil
}
