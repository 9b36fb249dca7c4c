package access

// Rules decide what clients may do.
type Rules struct{}
