package chassis

import (
	"errors"
	"syscall"
)

const (
	// deferSeconds is how long the kernel keeps a connection on which nothing has come.
	deferSeconds = 10
	// receiveBuffer and sendBuffer are how many bytes of a connection's the kernel keeps
	// for us to read, and for the other end to read: it would let them grow to megabytes,
	// which count for the container.
	receiveBuffer = 64 << 10
	sendBuffer    = 256 << 10
)

// outside sets what ListenOutside says on a listening socket, whose connections have
// the same.
func outside(_, _ string, raw syscall.RawConn) error {
	var fault error
	err := raw.Control(func(fd uintptr) {
		fault = errors.Join(
			syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_DEFER_ACCEPT, deferSeconds),
			syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, receiveBuffer),
			syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF, sendBuffer))
	})
	return errors.Join(err, fault)
}
