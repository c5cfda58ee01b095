package chassis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"
)

// Process is the part of a configuration that every service has. Embed it.
type Process struct {
	// AdminAddr is where /livez, /readyz and /metrics are served, in plain
	// text. Empty serves none.
	AdminAddr string `env:"ADMIN_ADDR" envDefault:":9464"`
	// DrainDelay is how long the process goes on serving after it has reported that
	// it is no longer ready, so that load balancers turn away first. 5s suits
	// Kubernetes; 0 when there is no load balancer.
	DrainDelay time.Duration `env:"DRAIN_DELAY" envDefault:"0s"`
	// DrainTimeout bounds the wait for calls under way after SIGTERM. Some seconds later
	// the process ends whatever it still waits for.
	DrainTimeout time.Duration `env:"DRAIN_TIMEOUT" envDefault:"20s"`
}

// keepEmpty lets an empty ADMIN_ADDR mean that there is none, where the library would apply
// the default.
func (p *Process) keepEmpty(prefix string, vars map[string]string) {
	if addr, given := vars[prefix+"ADMIN_ADDR"]; given && addr == "" {
		p.AdminAddr = ""
	}
}

// overtime is how long a process may run on after its drain should have ended, before it is
// ended.
const overtime = 4 * time.Second

// StopTimeout is how long after a signal the process ends, whatever hangs: a database or a
// broker that is silent, a call that ignores its deadline. What was answered is as safe then
// as when a process is killed.
func (p Process) StopTimeout() time.Duration { return p.DrainDelay + p.DrainTimeout + overtime }

// common is the configuration of every process, whatever its service's own.
type common struct {
	Level slog.Level `env:"LOG_LEVEL" envDefault:"INFO"`
	// GCPercent is how much the heap may grow between two collections, in place of
	// GOGC. The services hold a few MiB and make much garbage: at Go's own 100 they
	// spend an eighth of their time collecting it, for a heap of 10 MiB.
	GCPercent int `env:"GC_PERCENT" envDefault:"300"`
}

// Main runs a service until it ends or a signal asks it to. It reads NAME_*,
// starts telemetry and calls run with a context that SIGTERM or SIGINT cancels;
// a second signal ends the process at once. A configuration with faults ends it
// with status 2, a service that fails with status 1.
//
// With an argument it runs that command instead: one of those given, or
// healthcheck, version or help.
func Main[C any](name string, run func(context.Context, C) error, more ...Command) {
	runCommand(name, append(commands(name), more...))
	prefix := strings.ToUpper(name) + "_"
	shared, sharedFault := Load[common](prefix, os.Environ())
	cfg, fault := Load[C](prefix, os.Environ())
	if err := errors.Join(sharedFault, fault); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	debug.SetGCPercent(shared.GCPercent)
	if err := runProcess(name, shared.Level, cfg, run); err != nil {
		slog.Error("stopping", "error", err)
		os.Exit(1)
	}
}

// runCommand runs the command of the arguments, if there is one, and ends the program.
func runCommand(name string, all []Command) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	done, err := dispatch(ctx, name, os.Args[1:], all, os.Stdout)
	if !done {
		return
	}
	status := 0
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = 1
		if errors.As(err, &Misuse{}) {
			status = 2
		}
	}
	os.Exit(status) //nolint:gocritic // nothing is left for the deferred call
}

func runProcess[C any](name string, level slog.Level, cfg C, run func(context.Context, C) error) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	context.AfterFunc(ctx, stop)
	flush, err := StartTelemetry(ctx, name, level, os.Stderr)
	if err != nil {
		return err
	}
	slog.Info("starting", "version", Version())
	if p, ok := any(cfg).(interface{ StopTimeout() time.Duration }); ok {
		context.AfterFunc(ctx, func() { endAfter(p.StopTimeout()) })
	}
	runErr := UnlessStopped(ctx, run(ctx, cfg))
	return errors.Join(runErr, flush(ctx))
}

// endAfter ends the process with status 1 if it has not ended by then.
func endAfter(timeout time.Duration) {
	time.AfterFunc(timeout, func() {
		slog.Error("stopping has taken too long: something does not answer and ignores its deadline; ending without it", "after", timeout.String())
		os.Exit(1)
	})
}

// UnlessStopped returns err, or nil where ctx has been cancelled and err only says
// so: a service that is asked to stop while it is still starting has not failed.
func UnlessStopped(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// Listen opens a TCP port. A port that is taken gives an error that names the
// port and the setting that moves it.
func Listen(ctx context.Context, addr, setting string) (net.Listener, error) {
	return listen(ctx, net.ListenConfig{}, addr, setting)
}

// ListenOutside is Listen for a port that strangers connect to, and on which the client
// speaks first. On Linux a connection is accepted once something has been received on it, or
// after some ten seconds without: one that is closed before that costs the process nothing.
// The kernel buffers at most 64 KiB of each for us to read, and 256 KiB for the other end.
// Connections have no TCP keepalive, each setting of which is a system call: package fair
// turns it on.
func ListenOutside(ctx context.Context, addr, setting string) (net.Listener, error) {
	return listen(ctx, net.ListenConfig{KeepAlive: -1, Control: outside}, addr, setting)
}

func listen(ctx context.Context, config net.ListenConfig, addr, setting string) (net.Listener, error) {
	lis, err := config.Listen(ctx, "tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("port %s is taken by another process: stop it, or set %s to another address: %w", addr, setting, err)
	}
	if err != nil {
		return nil, fmt.Errorf("listening on %s (%s): %w", addr, setting, err)
	}
	return lis, nil
}
