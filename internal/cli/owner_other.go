//go:build !unix

package cli

import (
	"io/fs"
	"os"
)

// keepOwner does nothing: a new file has the rights of its folder.
func keepOwner(*os.File, fs.FileInfo) error { return nil }

// readableByAll is not told by the mode here.
func readableByAll(fs.FileInfo) bool { return false }
