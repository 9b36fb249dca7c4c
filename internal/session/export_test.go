package session

// Idle says whether the session holds no memory for messages.
func (s *Session) Idle() bool { return s.out == nil && s.inbox == nil }
