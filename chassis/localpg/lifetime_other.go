//go:build !linux

package localpg

import "syscall"

// endWithUs is for Linux: no other kernel tells a child of its parent's end.
func endWithUs(syscall.Signal) *syscall.SysProcAttr { return &syscall.SysProcAttr{} }
