package route

import (
	"fmt"
	"testing"
)

// Nobody can choose filters that meet in one place of the tables: where they
// lie is another place in each process.
func TestHashesCannotBeForeseen(t *testing.T) {
	a, b := NewIndex(), NewIndex()
	same := 0
	for i := range 100 {
		if f := fmt.Sprint("flood/", i); a.exact.hash(f) == b.exact.hash(f) {
			same++
		}
	}
	if same > 2 {
		t.Errorf("%d of 100 hashes are those of another index", same)
	}
}
