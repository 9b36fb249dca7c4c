package wheel

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkSet puts a deadline off while so many others wait.
func BenchmarkSet(b *testing.B) {
	for _, n := range []int{1, 100_000} {
		b.Run(fmt.Sprintf("waiting=%d", n), func(b *testing.B) {
			w := New()
			defer w.Close()
			owners := make([]owner, n)
			far := in(time.Hour)
			for i := range owners {
				w.Set(&owners[i], far+int64(i))
			}
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				w.Set(&owners[i], far+int64(i))
				i = (i + 1) % n
			}
		})
	}
}
