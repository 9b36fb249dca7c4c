package cli

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// propertySeparator joins the words of one -D. It cannot be in an argument.
const propertySeparator = "\x00"

// joinProperties makes one argument of each -D with the two or three words
// behind it, which pflag has no notion of. A -D that is the value of another
// flag stays as it is.
func joinProperties(root *cobra.Command, args []string) ([]string, error) {
	cmd := root
	if found, _, err := root.Find(args); err == nil {
		cmd = found
	}
	flags := cmd.Flags()
	if flags.Lookup("property") == nil {
		return args, nil
	}
	joined := make([]string, 0, len(args))
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			return append(joined, args[i:]...), nil
		}
		rest, isProperty, takesNext := lookAt(flags, arg)
		if !isProperty {
			joined = append(joined, arg)
			if takesNext && i+1 < len(args) {
				i++
				joined = append(joined, args[i])
			}
			continue
		}
		words := args[i+1:]
		taken := 0
		if rest != "" { // -Dpublish
			words, taken = append([]string{rest}, words...), -1
		}
		n := 3
		if len(words) > 1 && words[1] == "user-property" {
			n = 4
		}
		if len(words) < n {
			return nil, misuse("-D needs a command, a property and a value (user-property: two), as in -D publish content-type text/plain")
		}
		if before := shortPrefix(arg); before != "" { // -rD
			joined = append(joined, before)
		}
		joined = append(joined, "--property="+strings.Join(words[:n], propertySeparator))
		i += n + taken
	}
	return joined, nil
}

// lookAt says whether arg is a -D, with what is glued to it, or else whether
// its value is the argument behind it.
func lookAt(flags *pflag.FlagSet, arg string) (rest string, isProperty, takesNext bool) {
	if name, ok := strings.CutPrefix(arg, "--"); ok {
		name, _, glued := strings.Cut(name, "=")
		f := flags.Lookup(name)
		return "", name == "property" && !glued, f != nil && f.NoOptDefVal == "" && !glued
	}
	if len(arg) < 2 || arg[0] != '-' {
		return "", false, false
	}
	for i := 1; i < len(arg); i++ { // such as -rD or -m-D
		if arg[i] == 'D' {
			return arg[i+1:], true, false
		}
		f := flags.ShorthandLookup(arg[i : i+1])
		if f == nil {
			return "", false, false
		}
		if f.NoOptDefVal == "" {
			return "", false, i == len(arg)-1
		}
	}
	return "", false, false
}

// shortPrefix is what stands before the D of a group of short flags.
func shortPrefix(arg string) string {
	if strings.HasPrefix(arg, "--") {
		return ""
	}
	if i := strings.IndexByte(arg, 'D'); i > 1 {
		return arg[:i]
	}
	return ""
}

// property is one -D.
type property struct {
	command, name string
	value, second string // second is the value of a user property
}

// propertyList is the value of the flag -D.
type propertyList []property

func (l *propertyList) String() string { return "" }
func (l *propertyList) Type() string   { return "COMMAND PROPERTY VALUE" }

func (l *propertyList) Set(text string) error {
	words := strings.Split(text, propertySeparator)
	if len(words) < 3 {
		return errors.New("-D needs a command, a property and a value")
	}
	p := property{command: words[0], name: words[1], value: words[2]}
	if len(words) > 3 {
		p.second = words[3]
	}
	*l = append(*l, p)
	return nil
}
