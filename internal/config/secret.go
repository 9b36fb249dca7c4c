package config

import (
	"fmt"
	"io"
)

// Secret is a text that nobody is shown: a password, a key, a data source name.
// However it is printed or encoded, Hidden comes out. Who needs the text writes
// string(s), and is easy to find.
type Secret string

// Hidden stands for a secret.
const Hidden = "(hidden)"

// String implements fmt.Stringer.
func (Secret) String() string { return Hidden }

// GoString implements fmt.GoStringer.
func (Secret) GoString() string { return Hidden }

// Format implements fmt.Formatter: for verbs that String is not asked for, as
// %d, whose complaint shows the value.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, Hidden) }

// MarshalText implements encoding.TextMarshaler, which JSON, YAML and slog
// ask. What it gives is not taken in again.
func (Secret) MarshalText() ([]byte, error) { return []byte(Hidden), nil }
