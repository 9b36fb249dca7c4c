package config

import "strings"

// nearest finds the candidate that the word was probably meant to be, or "".
// Case, dashes and underscores do not count; of the rest, a third may be wrong.
func nearest(word string, candidates []string) string {
	best, found := len(word)/3+2, ""
	for _, candidate := range candidates {
		if d := distance(plain(word), plain(candidate)); d < best {
			best, found = d, candidate
		}
	}
	return found
}

func plain(word string) string {
	return strings.NewReplacer("_", "", "-", "").Replace(strings.ToLower(word))
}

// distance counts the bytes to insert, remove, replace or swap to make b of a.
func distance(a, b string) int {
	var before []int
	last, row := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, make([]int, len(b)+1)
	}
	return last[len(b)]
}
