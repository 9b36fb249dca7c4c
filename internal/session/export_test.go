package session

// Idle says whether the session holds no memory for messages.
func (s *Session) Idle() bool { return s.out == nil && s.inbox == nil }

// SetLastID makes the session go on as if id were the last packet identifier
// that it gave out.
func (s *Session) SetLastID(id uint16) { s.lastID = id }
