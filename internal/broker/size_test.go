package broker

import (
	"testing"
	"unsafe"
)

// An idle session is as large as it was made to be.
func TestIdleIsSmall(t *testing.T) {
	if n := unsafe.Sizeof(Client{}); n > 208 {
		t.Errorf("a Client takes %d bytes: what only a busy one has belongs into busy", n)
	}
	if n := unsafe.Sizeof(row{}); n != 512 {
		t.Errorf("a row of the table takes %d bytes, want 512: see rowSize", n)
	}
}
