package localpg

import "syscall"

// endWithUs has the kernel send a signal to a child when the thread that started
// it ends.
func endWithUs(signal syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: signal}
}
