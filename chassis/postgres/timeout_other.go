//go:build !linux

package postgres

import "syscall"

// userTimeout sets nothing: on other systems keepalive alone notices a vanished peer.
func userTimeout(_, _ string, _ syscall.RawConn) error { return nil }
