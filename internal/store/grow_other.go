//go:build !linux

package store

import "github.com/cockroachdb/pebble/v2/vfs"

// grow is for Linux.
func grow(vfs.File, int64, int64) bool { return false }
