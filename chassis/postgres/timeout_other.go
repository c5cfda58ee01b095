//go:build !linux

package postgres

import "syscall"

// userTimeout sets nothing: elsewhere keepalive alone notices a silent end.
func userTimeout(_, _ string, _ syscall.RawConn) error { return nil }
