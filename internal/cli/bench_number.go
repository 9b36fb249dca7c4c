package cli

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/fantail-mqtt/fantail/internal/config"
	"github.com/fantail-mqtt/fantail/internal/load"
)

// parseRate reads a number a second: 500, 10k, 50k/s, 1.5M/s. Empty is 0.
func parseRate(text string) (float64, error) {
	if text == "" {
		return 0, nil
	}
	n, err := parseDecimal(strings.TrimSuffix(text, "/s"))
	if err != nil {
		return 0, err
	}
	if n < 0 || n > 1e9 {
		return 0, errors.New("this is not from 0 to 1G")
	}
	return n, nil
}

// parseDecimal reads a number with k, M or G for thousands, millions and
// thousands of millions.
func parseDecimal(text string) (float64, error) {
	factor := 1.0
	if n := len(text); n > 0 {
		switch text[n-1] {
		case 'k', 'K':
			factor = 1e3
		case 'M':
			factor = 1e6
		case 'G':
			factor = 1e9
		}
	}
	digits := text
	if factor > 1 {
		digits = text[:len(text)-1]
	}
	n, err := strconv.ParseFloat(digits, 64)
	if err != nil || math.IsNaN(n) || math.IsInf(n, 0) || strings.ContainsAny(digits, "xXpP_") {
		return 0, fmt.Errorf("%q is no number; write 500, 10k or 1.5M", text)
	}
	return n * factor, nil
}

// parseSizes reads a list of sizes: 64,1k,16k. Their units are binary, as those
// of memory are.
func parseSizes(text string) ([]int, error) {
	var sizes []int
	for word := range strings.SplitSeq(text, ",") {
		word = strings.TrimSpace(word)
		long := word
		if last := strings.ToLower(word); strings.HasSuffix(last, "k") || strings.HasSuffix(last, "m") {
			long += "iB"
		}
		n, err := config.ParseSize(long)
		if err != nil {
			return nil, fmt.Errorf("%q is no size; write 64, 1k or 2m", word)
		}
		if n < load.StampSize || n > 16*config.MiB {
			return nil, fmt.Errorf("%s is not from %d bytes, which say whose message it is, to 16m", word, load.StampSize)
		}
		sizes = append(sizes, int(n))
	}
	return sizes, nil
}
