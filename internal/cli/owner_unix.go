//go:build unix

package cli

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// keepOwner gives part the owner and the group of the file that it replaces.
func keepOwner(part *os.File, before fs.FileInfo) error {
	now, err := part.Stat()
	if err != nil {
		return err
	}
	was, _ := before.Sys().(*syscall.Stat_t)
	is, _ := now.Sys().(*syscall.Stat_t)
	if was == nil || is == nil || was.Uid == is.Uid && was.Gid == is.Gid {
		return nil
	}
	if err := part.Chown(int(was.Uid), int(was.Gid)); err != nil {
		return fmt.Errorf("the file belongs to user %d and group %d, which this user cannot give a new one to: run this as its owner or as root", was.Uid, was.Gid)
	}
	return nil
}

// readableByAll says whether everybody on the machine may read the file.
func readableByAll(info fs.FileInfo) bool { return info.Mode().Perm()&0o004 != 0 }
