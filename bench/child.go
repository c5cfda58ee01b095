package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// stopPatience is how long a service has to end after SIGTERM: its DRAIN_TIMEOUT,
// and a little.
const stopPatience = 30 * time.Second

// child is a service's own program, running.
type child struct {
	name string
	cmd  *exec.Cmd
	// profile is the file of its CPU profile; empty: it writes none.
	profile string
	// ended is closed when it has ended; err is then how.
	ended chan struct{}
	err   error
}

// startChild starts a program with the environment given and nothing else, in
// particular no argument: to a service's program that is a command.
func startChild(name, path string, environ []string) (*child, error) {
	c := &child{name: name, cmd: exec.Command(path), ended: make(chan struct{})} //nolint:noctx // stop ends it
	c.cmd.Env = environ
	c.cmd.Stdout, c.cmd.Stderr = os.Stderr, os.Stderr
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go func() {
		// Pdeathsig is sent when the thread ends that has forked.
		runtime.LockOSThread()
		err := c.cmd.Start()
		started <- err
		if err == nil {
			c.err = c.cmd.Wait()
			close(c.ended)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	return c, nil
}

// stop asks the child to end, waits until it has, and returns an error if it did
// not end well.
func (c *child) stop(ctx context.Context) error {
	fault := c.endProfile(ctx)
	_ = c.cmd.Process.Signal(syscall.SIGTERM) // one that has ended says how below
	select {
	case <-c.ended:
	case <-time.After(stopPatience):
		_ = c.cmd.Process.Kill()
		<-c.ended
		return errors.Join(fault, fmt.Errorf("%s did not end within %s of SIGTERM", c.name, stopPatience))
	}
	if c.err != nil {
		return errors.Join(fault, fmt.Errorf("%s ended badly: %w", c.name, c.err))
	}
	return fault
}
