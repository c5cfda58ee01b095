//go:build !linux

package localpg

import "syscall"

// endWithUs does nothing: only Linux signals a child when its parent ends.
func endWithUs(syscall.Signal) *syscall.SysProcAttr { return &syscall.SysProcAttr{} }
