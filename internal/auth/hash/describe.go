package hash

import "strings"

// Describe names the form of a hash in a row, in a word.
func (c Column) Describe(text string) string {
	if c.Algorithm != "" {
		return c.Algorithm
	}
	for _, k := range []struct {
		mark string
		name Kind
	}{
		{"$6$", SHA512}, {"$7$", SHA512PBKDF2}, {"$argon2id", Argon2id}, {"$2", Bcrypt},
	} {
		if strings.HasPrefix(text, k.mark) {
			return string(k.name)
		}
	}
	return "pbkdf2"
}
