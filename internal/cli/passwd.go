package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fantail-mqtt/fantail/internal/auth/file"
	"github.com/fantail-mqtt/fantail/internal/auth/hash"
)

// passwdFlags are mosquitto_passwd's, with its meaning, and more kinds of hash.
type passwdFlags struct {
	create, batch, remove, upgrade bool
	kind                           string
	iterations                     int
}

func passwdCommand(e *env, as guise) *cobra.Command {
	p := passwdFlags{kind: string(hash.Argon2id)}
	if as == asMosquitto {
		p.kind = string(hash.SHA512PBKDF2)
	}
	cmd := &cobra.Command{
		Use:   "passwd [-H HASH] [-c | -D] FILE NAME",
		Short: "Write a password file",
		Long: "Gives a user of a password file a password, which it asks for: twice on a terminal, else as one line of standard input.\n" +
			"The file is mosquitto's, and is the broker's step password_file. It is replaced as a whole, with its comments and its order;\n" +
			"a broker that runs reads it again on SIGHUP. Flags stand before the file.",
		Example: "  fantail passwd -c passwd porch\n" +
			"  fantail passwd passwd garage < secret.txt\n" +
			"  fantail passwd -b passwd garage correct-horse     (others on this machine can see it)\n" +
			"  fantail passwd -D passwd garage\n" +
			"  fantail passwd -U passwd\n" +
			"  fantail passwd -H sha512-pbkdf2 passwd porch      (for mosquitto, too)",
		Args: cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error { return p.run(e, args) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.SetInterspersed(false) // a password may begin with -
	f.BoolVarP(&p.create, "create", "c", false, "begin a new file; one that is there is replaced")
	f.BoolVarP(&p.remove, "delete", "D", false, "delete the user")
	f.BoolVarP(&p.batch, "batch", "b", false, "take the password from the command line, where others on this machine can see it")
	f.BoolVarP(&p.upgrade, "upgrade", "U", false, "replace each password in plain text by its hash; what is a hash already stays")
	f.StringVarP(&p.kind, "hash", "H", p.kind, "`HASH`: "+strings.Join(kindNames(), ", ")+"; mosquitto knows the last two")
	f.IntVarP(&p.iterations, "iterations", "I", hash.Iterations, "the iterations `N` of sha512-pbkdf2; mosquitto's own take 101")
	return cmd
}

func kindNames() []string {
	names := make([]string, 0, len(hash.Kinds()))
	for _, k := range hash.Kinds() {
		names = append(names, string(k))
	}
	return names
}

// arguments are the file, the name and the password, as far as the flags want
// them.
func (p *passwdFlags) arguments(args []string) (path, name, password string, err error) {
	for _, pair := range []struct {
		both  bool
		names string
	}{
		{p.create && p.remove, "-c and -D"},
		{p.create && p.upgrade, "-c and -U"},
		{p.remove && p.upgrade, "-D and -U"},
		{p.remove && p.batch, "-D and -b"},
		{p.upgrade && p.batch, "-U and -b"},
	} {
		if pair.both {
			return "", "", "", misuse("%s exclude one another", pair.names)
		}
	}
	if !slices.Contains(kindNames(), p.kind) {
		return "", "", "", misuse("-H %s is unknown: it is one of %s", p.kind, strings.Join(kindNames(), ", "))
	}
	want := []string{"FILE", "NAME", "PASSWORD"}[:2]
	switch {
	case p.upgrade:
		want = want[:1]
	case p.batch:
		want = want[:3]
	}
	if len(args) != len(want) {
		return "", "", "", misuse("give %s, and nothing else behind the flags", strings.Join(want, " "))
	}
	args = append(args, "", "")
	if err := file.CheckName(args[1]); err != nil && !p.upgrade && !p.remove {
		return "", "", "", misuse("%w", err)
	}
	return args[0], args[1], args[2], nil
}

func (p *passwdFlags) run(e *env, args []string) error {
	path, name, password, err := p.arguments(args)
	if err != nil {
		return err
	}
	d := file.ParseDocument(nil)
	if !p.create {
		if d, err = readPasswords(path); err != nil {
			return err
		}
	}
	var did string
	switch {
	case p.remove:
		if !d.Delete(name) {
			return &status{exitFailed, fmt.Errorf("there is no user %q in %s", name, path)}
		}
		did = fmt.Sprintf("%q is deleted from %s", name, path)
	case p.upgrade:
		did, err = p.upgradeAll(e, d, path)
	default:
		did, err = p.set(e, d, path, name, password)
	}
	if err != nil || did == "" {
		return err
	}
	if err := replaceFile(path, d.Bytes()); err != nil {
		return &status{exitFailed, fmt.Errorf("write the password file: %w", err)}
	}
	e.say("%s; a broker that runs takes it up on SIGHUP", did)
	return p.warn(e, d, path)
}

func readPasswords(path string) (*file.Document, error) {
	text, err := file.Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("there is no password file %s: begin one with -c", path)
	}
	if err != nil {
		return nil, &status{exitFailed, err}
	}
	return file.ParseDocument(text), nil
}

// set gives a user a password.
func (p *passwdFlags) set(e *env, d *file.Document, path, name, password string) (did string, err error) {
	if !p.batch {
		if password, err = askPassword(e); err != nil {
			return "", err
		}
	}
	if password == "" {
		return "", misuse("the password is empty")
	}
	text, err := p.hash(password)
	if err != nil {
		return "", err
	}
	if d.Set(name, text) {
		return fmt.Sprintf("%q is added to %s", name, path), nil
	}
	return fmt.Sprintf("%q has a new password in %s", name, path), nil
}

func (p *passwdFlags) hash(password string) (text string, err error) {
	if hash.Kind(p.kind) == hash.SHA512PBKDF2 {
		text, err = hash.NewPBKDF2([]byte(password), p.iterations)
	} else {
		text, err = hash.New(hash.Kind(p.kind), []byte(password))
	}
	if err != nil {
		return "", misuse("%w", err)
	}
	return text, nil
}

// upgradeAll hashes what is in plain text. A file with a line that is neither
// that nor right is left as it is.
func (p *passwdFlags) upgradeAll(e *env, d *file.Document, path string) (did string, err error) {
	plain, err := d.Plain()
	if err != nil {
		return "", &status{exitFailed, inFile(path, err)}
	}
	if len(plain) == 0 {
		e.say("%s has no password in plain text", path)
		return "", nil
	}
	for _, user := range plain {
		if e.ctx.Err() != nil {
			return "", &status{code: exitInterrupted}
		}
		text, err := p.hash(user.Kept)
		if err != nil {
			return "", err
		}
		d.Set(user.Name, text)
	}
	if len(plain) == 1 {
		return fmt.Sprintf("1 password in %s is hashed", path), nil
	}
	return fmt.Sprintf("%d passwords in %s are hashed", len(plain), path), nil
}

// warn says what a broker will not like about the file, and what its owner may
// not.
func (p *passwdFlags) warn(e *env, d *file.Document, path string) error {
	if _, err := d.Entries(); err != nil {
		e.say("warning: a broker refuses the file until this is corrected:\n%v", inFile(path, err))
	}
	if info, err := os.Stat(path); err == nil && readableByAll(info) {
		e.say("warning: everybody on this machine can read %s: chmod 600 %s", path, path)
	}
	return nil
}

// inFile is a list of mistakes with the name of the file.
func inFile(path string, err error) error {
	if wrong, ok := errors.AsType[*file.Error](err); ok {
		wrong.File = path
	}
	return err
}
