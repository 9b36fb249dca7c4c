// Command plot draws the figures of bench/results as the pictures that the
// READMEs show: traffic.svg, what a message costs each broker, and growth.svg,
// how that grows with connections and filters. Each is drawn from the newest
// results that have its tables, and says from which.
//
// The same results make the same bytes, so that a picture can be checked
// against them. What it needs to draw is not in the module that users import.
//
// Usage, in the folder above the one this is in:
//
//	go run -C tools ./plot
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// picture is a file that is made of some tables.
type picture struct {
	file string
	fits func(*results) bool
	draw func(*results) ([]byte, error)
}

func pictures() []picture {
	return []picture{
		{"traffic.svg", (*results).hasTraffic, drawTraffic},
		{"growth.svg", (*results).hasGrowth, drawGrowth},
	}
}

func main() {
	from := flag.String("results", "../bench/results", "`directory` of the results")
	to := flag.String("out", "../docs/img", "`directory` of the pictures")
	flag.Parse()
	if err := run(*from, *to, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "plot:", err)
		os.Exit(1)
	}
}

func run(from, to string, stdout io.Writer) error {
	all, err := readAll(from)
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range pictures() {
		newest := newestOf(all, p.fits)
		if newest == nil {
			fmt.Fprintf(stdout, "%s: no results in %s have its tables\n", p.file, from)
			continue
		}
		errs = append(errs, p.write(newest, to, stdout))
	}
	return errors.Join(errs...)
}

func (p picture) write(r *results, to string, stdout io.Writer) error {
	svg, err := p.draw(r)
	if err != nil {
		return fmt.Errorf("draw %s of %s: %w", p.file, r.name, err)
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(to, p.file), svg, 0o644); err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%s: %d bytes, of %s\n", p.file, len(svg), r.name)
	return err
}
