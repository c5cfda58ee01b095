package chaos

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// process is a child that can be killed and started again.
type process struct {
	name string
	path string
	args []string
	env  []string
	logs string
	// ready is nil when the process answers.
	ready func(context.Context) error

	// acting is held by whoever does something to the process.
	acting sync.Mutex

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{}
}

// start starts the process and returns at once.
func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	logs, err := os.OpenFile(filepath.Join(p.logs, p.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("opening the log of %s: %w", p.name, err)
	}
	cmd := exec.Command(p.path, p.args...) //nolint:noctx,gosec // it outlives any call; we have built it
	cmd.Env, cmd.Stdout, cmd.Stderr = p.env, logs, logs
	// No child outlives the harness.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	exited, started := make(chan struct{}), make(chan error, 1)
	go func() {
		// Pdeathsig is sent when the thread ends that has forked.
		runtime.LockOSThread()
		defer logs.Close()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is in its log
		}
		close(exited)
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("starting %s: %w", p.name, err)
	}
	p.cmd, p.exited = cmd, exited
	return nil
}

// signal sends a signal; to a process that has ended, nothing.
func (p *process) signal(sig syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		_ = p.cmd.Process.Signal(sig)
	}
}

// end sends a signal that ends the process and waits until it has.
func (p *process) end(sig syscall.Signal) {
	p.signal(sig)
	p.mu.Lock()
	exited := p.exited
	p.mu.Unlock()
	if exited != nil {
		<-exited
	}
}

// running tells whether the process has not ended.
func (p *process) running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.exited == nil {
		return false
	}
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// awaitReady waits until the process answers.
func (p *process) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyPatience)
	defer cancel()
	for {
		err := p.ready(ctx)
		if err == nil {
			return nil
		}
		if !p.running() {
			// As whoever runs it would.
			if err := p.start(); err != nil {
				return err
			}
		}
		if !sleep(ctx, 50*time.Millisecond) {
			return fmt.Errorf("%s is not ready after %s: %w", p.name, readyPatience, err)
		}
	}
}

// sleep waits and tells whether ctx is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// freePort takes a port and gives it back. The kernel hands out others for a
// while.
func freePort(ctx context.Context) (string, error) {
	var config net.ListenConfig
	lis, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("looking for a port: %w", err)
	}
	defer lis.Close()
	return lis.Addr().String(), nil
}
