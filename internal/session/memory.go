package session

import "unsafe"

// Waits is how many bytes the messages hold that wait, and how many bytes of
// memory those of them take that are in memory, with what keeps them in order.
func (s *Session) Waits() (bytes, memory int) {
	o := s.out
	if o == nil {
		return 0, 0
	}
	_, bytes = o.waits()
	memory = o.bytes + cap(o.queue.items)*int(unsafe.Sizeof(Item{}))
	if l := o.lossy; l != nil {
		memory += l.bytes + cap(l.items)*int(unsafe.Sizeof(loose{}))
	}
	return bytes, memory
}
