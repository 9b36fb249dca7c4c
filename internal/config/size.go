package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes. In text it is a number with a unit, such as
// 64KiB, or without one.
type Size int64

// The units a Size is written in.
const (
	KiB Size = 1 << 10
	MiB Size = 1 << 20
	GiB Size = 1 << 30
)

// ParseSize reads a Size: 512, 512B, 64KiB, 1MiB, 2GiB, or with the decimal
// units KB, MB, GB. A space before the unit and its case do not matter.
func ParseSize(text string) (Size, error) {
	digits := strings.TrimRight(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
	name := text[len(digits):]
	unit, ok := unitOf(name)
	if !ok {
		return 0, fmt.Errorf("%q has the unknown unit %q: write KiB, MiB or GiB", text, name)
	}
	n, err := strconv.ParseInt(strings.TrimRight(digits, " "), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is no size: write a whole number and a unit, such as 64KiB or 1MiB", text)
	}
	if n > math.MaxInt64/int64(unit) || n < math.MinInt64/int64(unit) {
		return 0, fmt.Errorf("%q is more than any machine has", text)
	}
	return Size(n) * unit, nil
}

func unitOf(name string) (Size, bool) {
	switch strings.ToLower(name) {
	case "", "b":
		return 1, true
	case "kib":
		return KiB, true
	case "mib":
		return MiB, true
	case "gib":
		return GiB, true
	case "kb":
		return 1_000, true
	case "mb":
		return 1_000_000, true
	case "gb":
		return 1_000_000_000, true
	}
	return 0, false
}

// String writes s in the largest unit that divides it, binary before decimal.
func (s Size) String() string {
	for _, unit := range []string{"GiB", "MiB", "KiB", "GB", "MB", "KB"} {
		if size, _ := unitOf(unit); s != 0 && s%size == 0 {
			return strconv.FormatInt(int64(s/size), 10) + unit
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// MarshalText writes what ParseSize reads.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what ParseSize reads.
func (s *Size) UnmarshalText(text []byte) error {
	size, err := ParseSize(string(text))
	if err != nil {
		return err
	}
	*s = size
	return nil
}
