package fleet

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Process is a child that can be killed and started again.
type Process struct {
	Name string
	path string
	args []string
	env  []string
	logs string
	// ready is nil when the process answers.
	ready func(context.Context) error

	// Acting is held by whoever does something to the process.
	Acting sync.Mutex

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{}
	status int
}

// Start starts the process and returns at once.
func (p *Process) Start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	logs, err := os.OpenFile(filepath.Join(p.logs, p.Name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("opening the log of %s: %w", p.Name, err)
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
			_ = cmd.Wait() // why it ended is in its log
			p.mu.Lock()
			p.status = cmd.ProcessState.ExitCode()
			p.mu.Unlock()
		}
		close(exited)
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("starting %s: %w", p.Name, err)
	}
	p.cmd, p.exited = cmd, exited
	return nil
}

// Signal sends a signal; to a process that has ended, nothing.
func (p *Process) Signal(sig syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		_ = p.cmd.Process.Signal(sig)
	}
}

// End sends a signal that ends the process and waits until it has. It returns the
// exit status, -1 when the signal ended it, 0 when it never ran.
func (p *Process) End(sig syscall.Signal) (status int) {
	p.Signal(sig)
	p.mu.Lock()
	exited := p.exited
	p.mu.Unlock()
	if exited != nil {
		<-exited
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status
}

// PID is the process's id, 0 when it never ran.
func (p *Process) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// Replace has the next start run another program, with more settings.
func (p *Process) Replace(program string, settings ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.path, p.env = program, append(p.env, settings...)
}

// Env is the process's environment.
func (p *Process) Env() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.env)
}

// Running reports whether the process has not ended.
func (p *Process) Running() bool {
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

// AwaitReady waits until the process answers.
func (p *Process) AwaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, ReadyPatience)
	defer cancel()
	for {
		err := p.ready(ctx)
		if err == nil {
			return nil
		}
		if !p.Running() {
			// As whoever runs it would.
			if err := p.Start(); err != nil {
				return err
			}
		}
		if !Sleep(ctx, 50*time.Millisecond) {
			return fmt.Errorf("%s is not ready after %s: %w", p.Name, ReadyPatience, err)
		}
	}
}

// Sleep waits and reports whether ctx is still alive.
func Sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// givenPorts are the addresses that freePort has found, whether or not anybody listens now.
var givenPorts sync.Map

// freePort finds an address that is free, below the ports that the kernel gives to
// whoever connects somewhere: processes are started on it again and again, and nobody
// may get it by chance meanwhile. No two get the same: a process that is killed comes back
// to its own.
func freePort(ctx context.Context) (string, error) {
	const first, last, tries = 10_000, 32_000, 100
	var config net.ListenConfig
	var fault error
	for range tries {
		lis, err := config.Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", first+rand.IntN(last-first))) //nolint:gosec // no secret
		if err != nil {
			fault = err // taken
			continue
		}
		addr, err := lis.Addr().String(), lis.Close()
		if _, taken := givenPorts.LoadOrStore(addr, true); taken {
			fault = fmt.Errorf("%s is another process's", addr)
			continue
		}
		return addr, err
	}
	return "", fmt.Errorf("looking for a port: %w", fault)
}

// Answers reports whether a page answers with 200.
func Answers(ctx context.Context, url string) bool { return httpReady(url)(ctx) == nil }

func httpReady(url string) func(context.Context) error {
	client := &http.Client{Timeout: time.Second}
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("answers %s", resp.Status)
		}
		return nil
	}
}
