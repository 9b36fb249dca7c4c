package sql

import (
	"errors"

	"golang.org/x/crypto/bcrypt"
)

func knows(string) error { return nil }

func verify(_, stored string, given []byte) (bool, error) {
	err := bcrypt.CompareHashAndPassword([]byte(stored), given)
	if errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
		return false, nil
	}
	return err == nil, err
}

func decoy(string, []byte) {}
