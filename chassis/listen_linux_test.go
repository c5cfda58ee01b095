package chassis

import (
	"net"
	"syscall"
	"testing"
)

// Of two connections the one that says something comes first, and what the kernel
// keeps of it is bounded.
func TestListenOutside(t *testing.T) {
	t.Parallel()
	lis, err := ListenOutside(t.Context(), "127.0.0.1:0", "ADDR")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lis.Close() })
	var ends []net.Conn
	for range 2 {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", lis.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		ends = append(ends, conn)
	}
	if _, err := ends[1].Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	first, err := lis.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { first.Close() })
	if got, want := first.RemoteAddr().String(), ends[1].LocalAddr().String(); got != want {
		t.Errorf("%s came first, want %s, which has said something", got, want)
	}
	raw, err := first.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Control(func(fd uintptr) {
		for option, want := range map[int]int{syscall.SO_RCVBUF: receiveBuffer, syscall.SO_SNDBUF: sendBuffer} {
			// Linux doubles it, for what it needs itself.
			if got, err := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, option); err != nil || got > 2*want {
				t.Errorf("option %d is %d, %v, want at most twice %d", option, got, err, want)
			}
		}
	})
	if err != nil {
		t.Error(err)
	}
}
