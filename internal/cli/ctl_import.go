package cli

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fantail-mqtt/fantail/internal/managed"
)

// forms are the ways in which files hold things of one kind.
type forms interface {
	register(cmd *cobra.Command)
	// thing makes what the API takes of one row or object of a file: its fields by
	// their names in small letters.
	thing(fields map[string]json.RawMessage) (map[string]any, error)
	// lines says whether a file of lines that are neither CSV nor JSON begins with
	// this one; line reads one.
	lines(first string) bool
	line(text string) (map[string]any, error)
	help() string
}

func importCommand(t *things, f forms) *cobra.Command {
	var replace bool
	cmd := &cobra.Command{
		Use:   "import FILE [--replace]",
		Short: "Add many " + t.noun + "s out of a file",
		Long:  f.help() + "\nWhat is there already is refused, or with --replace made what the file says. FILE - is standard input.",
		Args:  onefile,
		RunE: func(_ *cobra.Command, args []string) error {
			in := io.NopCloser(t.e.stdin)
			if args[0] != "-" {
				file, err := os.Open(args[0])
				if err != nil {
					return failed(err)
				}
				in = file
			}
			defer in.Close() // it was read
			return t.load(in, f, replace)
		},
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().BoolVar(&replace, "replace", false, "replace "+t.noun+"s that are there")
	f.register(cmd)
	return cmd
}

func onefile(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return misuse("give the one file to read, or - for standard input")
	}
	return nil
}

// A request of an import has at most so many things, and about so many bytes.
const (
	importThings = 500
	importBytes  = 4 << 20
)

// load sends what is in a file, a part at a time.
func (t *things) load(in io.Reader, f forms, replace bool) error {
	var total managed.Report
	var part []json.RawMessage
	size := 0
	send := func() error {
		if len(part) == 0 {
			return nil
		}
		r, err := t.post(part, replace)
		total.Added, total.Changed, total.Unchanged = total.Added+r.Added, total.Changed+r.Changed, total.Unchanged+r.Unchanged
		total.Refused = append(total.Refused, r.Refused...)
		part, size = nil, 0
		return err
	}
	var err error
	for thing, wrong := range thingsIn(in, f) {
		if err = wrong; err != nil {
			break
		}
		text, e := json.Marshal(thing)
		if err = e; err != nil {
			break
		}
		part, size = append(part, text), size+len(text)
		if len(part) >= importThings || size >= importBytes {
			if err = send(); err != nil {
				break
			}
		}
	}
	if err == nil {
		err = send()
	}
	return errors.Join(t.report(&total), failed(err))
}

// toldRefusals are as many as are told one by one.
const toldRefusals = 20

func (t *things) report(r *managed.Report) error {
	_, err := fmt.Fprintf(t.e.stdout, "added      %s\nchanged    %s\nunchanged  %s\nrefused    %s\n",
		count(int64(r.Added)), count(int64(r.Changed)), count(int64(r.Unchanged)), count(int64(len(r.Refused))))
	for i, refusal := range r.Refused {
		if i == toldRefusals {
			t.e.say("and %d more", len(r.Refused)-i)
			break
		}
		t.e.say("%s: %s", printable(refusal.Name), refusal.Error)
	}
	if err == nil && len(r.Refused) > 0 {
		return failed(fmt.Errorf("%d were refused", len(r.Refused)))
	}
	return err
}

// thingsIn yields the things of a file, whatever its form is.
func thingsIn(in io.Reader, f forms) iter.Seq2[map[string]any, error] {
	return func(yield func(map[string]any, error) bool) {
		r := bufio.NewReader(in)
		var mark []byte
		for { // to the first sign that is no space
			b, err := r.Peek(1)
			if err != nil {
				return // it is empty
			}
			if !bytes.ContainsAny(b, " \t\r\n") {
				mark = b
				break
			}
			_, _ = r.Discard(1)
		}
		first, _ := r.Peek(min(r.Buffered(), 4096))
		line, _, _ := strings.Cut(string(first), "\n")
		switch {
		case mark[0] == '[' || mark[0] == '{':
			eachObject(r, f, yield)
		case f.lines(line):
			eachLine(r, f, yield)
		default:
			eachRow(r, f, yield)
		}
	}
}

// eachObject reads an array of objects, or one object after another.
func eachObject(r *bufio.Reader, f forms, yield func(map[string]any, error) bool) {
	b, _ := r.Peek(1)
	d := json.NewDecoder(r)
	if b[0] == '[' {
		_, _ = d.Token()
	}
	for n := 1; d.More(); n++ {
		var object map[string]json.RawMessage
		if err := d.Decode(&object); err != nil {
			yield(nil, fmt.Errorf("item %d: %w", n, err))
			return
		}
		fields := make(map[string]json.RawMessage, len(object))
		for key, value := range object {
			fields[strings.ToLower(key)] = value
		}
		thing, err := f.thing(fields)
		if err != nil {
			err = fmt.Errorf("item %d: %w", n, err)
		}
		if !yield(thing, err) || err != nil {
			return
		}
	}
}

// eachRow reads a table whose first line names its columns.
func eachRow(r io.Reader, f forms, yield func(map[string]any, error) bool) {
	table := csv.NewReader(r)
	table.TrimLeadingSpace = true
	head, err := table.Read()
	if err != nil {
		yield(nil, err)
		return
	}
	for i := range head {
		head[i] = strings.ToLower(strings.TrimSpace(strings.TrimPrefix(head[i], "\ufeff")))
	}
	for {
		row, err := table.Read()
		if errors.Is(err, io.EOF) {
			return
		}
		fields := map[string]json.RawMessage{}
		for i, cell := range row {
			if i < len(head) && cell != "" {
				fields[head[i]] = cellJSON(head[i], cell)
			}
		}
		var thing map[string]any
		if err == nil {
			if thing, err = f.thing(fields); err != nil {
				at, _ := table.FieldPos(0)
				err = fmt.Errorf("line %d: %w", at, err)
			}
		}
		if !yield(thing, err) || err != nil {
			return
		}
	}
}

// cellJSON is a cell as it would stand in JSON. A list of names may be written
// with semicolons between them.
func cellJSON(column, cell string) json.RawMessage {
	switch column {
	case "superuser", "is_superuser", "disabled":
		switch strings.ToLower(cell) {
		case "true", "1", "yes":
			return json.RawMessage("true")
		default:
			return json.RawMessage("false")
		}
	case "groups", "attributes", "rules":
		if json.Valid([]byte(cell)) {
			return json.RawMessage(cell)
		}
		if column == "groups" {
			return encodeJSON(strings.Split(cell, ";"))
		}
	}
	return encodeJSON(cell)
}

// eachLine reads a file that has a thing in each line.
func eachLine(r io.Reader, f forms, yield func(map[string]any, error) bool) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		text := strings.TrimRight(lines.Text(), "\r")
		if text == "" || text[0] == '#' {
			continue
		}
		thing, err := f.line(text)
		if err != nil {
			err = fmt.Errorf("line %d: %w", n, err)
		}
		if !yield(thing, err) || err != nil {
			return
		}
	}
	if err := lines.Err(); err != nil {
		yield(nil, err)
	}
}

// field is a field that is a string, empty if it is not there.
func field(fields map[string]json.RawMessage, name string) string {
	var s string
	_ = json.Unmarshal(fields[name], &s)
	return s
}

func exportCommand(t *things, names []string) *cobra.Command {
	var asCSV bool
	cmd := &cobra.Command{
		Use:   "export [FILE] [--csv]",
		Short: "Write all " + t.noun + "s with what is secret of them, for import elsewhere",
		Long: "Writes all " + t.noun + "s to FILE, which must not be there yet and is for this user alone, or to standard output: as JSON, or as\n" +
			"CSV if the name ends in .csv. Whoever reads it can guess passwords at leisure, or has the keys: keep it safe.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return misuse("give one file at most")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 || args[0] == "-" {
				return failed(t.write(t.e.stdout, names, asCSV))
			}
			return failed(t.save(args[0], names, asCSV || strings.HasSuffix(args[0], ".csv")))
		},
	}
	cmd.Flags().BoolVar(&asCSV, "csv", false, "write CSV")
	return cmd
}

// save writes a new file, or none.
func (t *things) save(path string, names []string, asCSV bool) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(file)
	err = errors.Join(t.write(w, names, asCSV), w.Flush(), file.Sync(), file.Close())
	if err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

func (t *things) write(w io.Writer, names []string, asCSV bool) error {
	list := t.all(t.export)
	if !asCSV {
		return writeJSON(w, list)
	}
	table := csv.NewWriter(w)
	if err := table.Write(names); err != nil {
		return err
	}
	for object, err := range list {
		if err != nil {
			return err
		}
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(object, &fields); err != nil {
			return err
		}
		row := make([]string, len(names))
		for i, name := range names {
			if row[i] = field(fields, name); row[i] == "" && fields[name] != nil && string(fields[name]) != `""` {
				row[i] = string(fields[name])
			}
		}
		if err := table.Write(row); err != nil {
			return err
		}
	}
	table.Flush()
	return table.Error()
}
