package message

import "unique"

// Source is what is remembered of who published a message that is retained, for
// access rules to ask about when its publisher is gone. The zero value is nobody
// whom they could be asked about.
type Source struct {
	Client string
	User   string // that the client had proved
	Known  bool   // a step of the authentication knew the client
}

// SourceHandle is a source in one word. Messages of one publisher share it. The
// zero value stands for that of Source.
type SourceHandle struct{ h unique.Handle[Source] }

// Handle is the handle of a source.
func (s Source) Handle() SourceHandle {
	if s == (Source{}) {
		return SourceHandle{}
	}
	return SourceHandle{unique.Make(s)}
}

// Source is what the handle stands for.
func (h SourceHandle) Source() Source {
	if h.None() {
		return Source{}
	}
	return h.h.Value()
}

// None says that the handle stands for nobody.
func (h SourceHandle) None() bool { return h == SourceHandle{} }
