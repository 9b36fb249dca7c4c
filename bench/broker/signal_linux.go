package broker

import (
	"os/exec"
	"syscall"
)

const terminate = syscall.SIGTERM

// dieWithParent keeps a killed benchmark from leaving brokers behind that would
// spoil the next one.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
}
