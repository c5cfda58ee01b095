// Package localpg runs a private PostgreSQL from the binaries of this machine,
// for tests and for the development launcher. Production code never imports it.
//
// The cluster listens on a unix socket alone, in a folder that its own user alone
// can enter: there is no password. It ends with the process that started it, also
// when that one is killed: on Linux the kernel then sends the postmaster a
// fast-shutdown signal. Elsewhere a killed process leaves it behind, to be ended
// by pg_ctl. As root the server runs as user postgres, which PostgreSQL insists on.
package localpg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// superuser owns the cluster, whoever runs it.
	superuser = "postgres"
	// maxSocketPath is what the kernel takes (sockaddr_un), in bytes, less the
	// longest name that PostgreSQL appends.
	maxSocketPath = 107 - len("/.s.PGSQL.5432.lock")
	// startTimeout bounds the wait for a first answer, recovery included.
	startTimeout = 60 * time.Second
	probePause   = 20 * time.Millisecond
	// stopTimeout is how long a shutdown may take before it becomes an immediate one.
	stopTimeout = 20 * time.Second
)

// ErrNoBinaries is returned when no PostgreSQL server is installed.
var ErrNoBinaries = errors.New("no PostgreSQL server found: install it with `apt-get install postgresql` (or your system's package), or give database URLs")

// Options say where a cluster lives and how careful it is.
type Options struct {
	// Dir holds the data and the socket. It is made if missing and must hold
	// nothing else. When user postgres cannot reach it, or the socket's path would
	// be too long, another place is used, the same each time: see [Cluster.Dir].
	// Empty: a folder of its own, removed by Stop.
	Dir string
	// Durable makes commits survive a crash of the machine. Tests do without.
	Durable bool
	// Settings are added to the command line.
	Settings map[string]string
}

// Cluster is a running server.
type Cluster struct {
	dir  string
	temp bool
	cmd  *exec.Cmd
	logs *os.File
	// ended is closed when the server is gone; exit then says how.
	ended chan struct{}
	exit  error
}

// Start starts the cluster in opts.Dir, after making it if there is none, and
// waits until it answers.
func Start(ctx context.Context, opts Options) (*Cluster, error) {
	if _, err := Find(); err != nil {
		return nil, err
	}
	c, attr, err := occupy(ctx, opts.Dir)
	if err != nil {
		return nil, err
	}
	bin, err := find(c.version())
	if err != nil {
		return nil, err
	}
	if err := c.initialise(ctx, bin, attr); err != nil {
		return nil, err
	}
	if err := c.serve(ctx, bin, opts, attr); err != nil {
		return nil, err
	}
	return c, nil
}

// occupy returns a cluster in a folder, or in a temporary one, in which no server runs any
// more, and how to start its server.
func occupy(ctx context.Context, dir string) (*Cluster, *syscall.SysProcAttr, error) {
	attr, err := serverUser()
	if err != nil {
		return nil, nil, err
	}
	c := &Cluster{temp: dir == "", ended: make(chan struct{})}
	if c.dir, err = place(dir, attr.Credential); err != nil {
		return nil, nil, err
	}
	return c, attr, c.awaitPredecessor(ctx)
}

// serve starts the server and waits until it answers.
func (c *Cluster) serve(ctx context.Context, bin string, opts Options, attr *syscall.SysProcAttr) error {
	if err := c.launch(bin, opts, attr); err != nil {
		return err
	}
	if err := c.awaitAnswer(ctx); err != nil {
		return errors.Join(err, c.Stop())
	}
	return nil
}

// Erase deletes the cluster that Start makes for dir, wherever it is. It must not
// be running.
func Erase(ctx context.Context, dir string) error {
	attr, err := serverUser()
	if err != nil {
		return err
	}
	c := &Cluster{}
	if c.dir, err = place(dir, attr.Credential); err != nil {
		return err
	}
	if err := c.awaitPredecessor(ctx); err != nil {
		return err
	}
	return c.erase()
}

// erase removes what this package has made, and the folder if that was all.
func (c *Cluster) erase() error {
	faults := make([]error, 0, 3)
	for _, made := range []string{c.data(), c.data() + ".new", filepath.Join(c.dir, "server.log")} {
		faults = append(faults, os.RemoveAll(made))
	}
	if err := errors.Join(faults...); err != nil {
		return fmt.Errorf("erasing the cluster: %w", err)
	}
	_ = os.Remove(c.dir) // fails when somebody else has something in it
	return nil
}

// awaitPredecessor waits for the server of a process that was killed a moment
// ago: it is shutting down, and still uses the folder.
func (c *Cluster) awaitPredecessor(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	ticker := time.NewTicker(probePause)
	defer ticker.Stop()
	for {
		pid := c.runningPID()
		if pid == 0 {
			return c.unlock()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("another PostgreSQL (process %d) still uses %s: stop what started it", pid, c.data())
		case <-ticker.C:
		}
	}
}

// unlock removes the lock file of a server that is gone. PostgreSQL does that
// itself, except when its process id has meanwhile gone to another program.
func (c *Cluster) unlock() error {
	if runtime.GOOS != "linux" {
		return nil // runningPID does not know
	}
	for _, lock := range []string{filepath.Join(c.data(), "postmaster.pid"), filepath.Join(c.dir, ".s.PGSQL.5432.lock")} {
		if err := os.Remove(lock); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing a stale lock: %w", err)
		}
	}
	return nil
}

// runningPID returns the postmaster that uses the folder, or 0.
func (c *Cluster) runningPID() int {
	content, err := os.ReadFile(filepath.Join(c.data(), "postmaster.pid"))
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(content), "\n")
	pid, err := strconv.Atoi(line)
	if err != nil {
		return 0
	}
	command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !bytes.Contains(command, []byte(c.data())) {
		return 0
	}
	return pid
}

func (c *Cluster) data() string { return filepath.Join(c.dir, "data") }

// version is the major version that made the data, or 0 when there is none.
func (c *Cluster) version() int {
	content, err := os.ReadFile(filepath.Join(c.data(), "PG_VERSION"))
	if err != nil {
		return 0
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil {
		return 0
	}
	return major
}

// Dir is where the cluster is: not always where it was wanted.
func (c *Cluster) Dir() string { return c.dir }

// initialise makes the cluster unless it is there. It is made under another name
// and renamed, so that one cut short is not taken for whole.
func (c *Cluster) initialise(ctx context.Context, bin string, attr *syscall.SysProcAttr) error {
	if c.version() != 0 {
		return nil
	}
	fresh := c.data() + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return fmt.Errorf("making the cluster: %w", err)
	}
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), "--pgdata="+fresh, "--username="+superuser, //nolint:gosec // from folders of the system
		"--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions")
	cmd.Dir = c.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: attr.Credential}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("making the cluster: %w: %s", err, lastLines(out))
	}
	if err := os.Rename(fresh, c.data()); err != nil {
		return fmt.Errorf("making the cluster: %w", err)
	}
	return nil
}

func (c *Cluster) launch(bin string, opts Options, attr *syscall.SysProcAttr) error {
	logs, err := os.OpenFile(filepath.Join(c.dir, "server.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("opening the server's log: %w", err)
	}
	c.logs = logs
	c.cmd = exec.Command(filepath.Join(bin, "postgres"), c.arguments(opts)...) //nolint:noctx,gosec // it outlives any call, Stop ends it; from folders of the system
	c.cmd.Dir = c.dir
	c.cmd.Stdout, c.cmd.Stderr = logs, logs
	c.cmd.SysProcAttr = attr
	started := make(chan error, 1)
	go func() {
		// The kernel sends Pdeathsig when the thread that forked ends, not the
		// process: keep the thread for as long as the server.
		runtime.LockOSThread()
		err := c.cmd.Start()
		started <- err
		if err == nil {
			c.exit = c.cmd.Wait()
			close(c.ended)
		}
	}()
	if err := <-started; err != nil {
		_ = logs.Close() // nothing in it
		return fmt.Errorf("starting PostgreSQL: %w", err)
	}
	return nil
}

func (c *Cluster) arguments(opts Options) []string {
	settings := map[string]string{
		"listen_addresses":        "",
		"unix_socket_directories": c.dir,
		"unix_socket_permissions": "0700",
		"max_connections":         "200",
		"timezone":                "UTC",
		"log_timezone":            "UTC",
		// The details of an error quote the values of a row.
		"log_error_verbosity": "terse",
	}
	if !opts.Durable {
		maps.Copy(settings, map[string]string{"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"})
	}
	maps.Copy(settings, opts.Settings)
	args := []string{"-D", c.data()}
	for name, value := range settings {
		args = append(args, "-c", name+"="+value)
	}
	return args
}

func (c *Cluster) awaitAnswer(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	ticker := time.NewTicker(probePause)
	defer ticker.Stop()
	for {
		conn, err := pgx.Connect(ctx, c.URL("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-c.ended:
			return fmt.Errorf("PostgreSQL ended at once (%w): %s", c.exit, c.lastLog())
		case <-ctx.Done():
			return fmt.Errorf("waiting for PostgreSQL: %w: %s", err, c.lastLog())
		case <-ticker.C:
		}
	}
}

// URL is how to connect to a database of the cluster.
func (c *Cluster) URL(database string) string {
	// pgx does not read a plus sign as a space.
	host := strings.ReplaceAll(url.QueryEscape(c.dir), "+", "%20")
	address := url.URL{Scheme: "postgres", User: url.User(superuser), Path: "/" + database, RawQuery: "host=" + host}
	return address.String()
}

// CreateDatabase makes a database unless it is there.
func (c *Cluster) CreateDatabase(ctx context.Context, name string) error {
	conn, err := pgx.Connect(ctx, c.URL("postgres"))
	if err != nil {
		return fmt.Errorf("making database %s: %w", name, err)
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, `CREATE DATABASE `+pgx.Identifier{name}.Sanitize())
	var fault interface{ SQLState() string }
	if errors.As(err, &fault) && fault.SQLState() == "42P04" { // duplicate_database
		return nil
	}
	if err != nil {
		return fmt.Errorf("making database %s: %w", name, err)
	}
	return nil
}

// Stop ends the server and waits until it is gone: sessions are cut, nothing
// committed is lost. It may be called again, and after Kill.
func (c *Cluster) Stop() error {
	if err := c.end(syscall.SIGINT); err != nil {
		return fmt.Errorf("stopping PostgreSQL: %w", err)
	}
	if !c.temp {
		return nil
	}
	return c.erase()
}

// Kill ends the server as a crash would and waits until it is gone. The next
// Start in the same folder recovers.
func (c *Cluster) Kill() error {
	// PostgreSQL's immediate shutdown: its children go with it, which SIGKILL of
	// the postmaster alone would leave for a while.
	if err := c.end(syscall.SIGQUIT); err != nil {
		return fmt.Errorf("killing PostgreSQL: %w", err)
	}
	return nil
}

// end sends a signal and waits. A server that does not end in time is shut down at once, as
// by Kill.
func (c *Cluster) end(signal syscall.Signal) error {
	defer c.logs.Close()
	if err := c.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	timer := time.AfterFunc(stopTimeout, func() { _ = c.cmd.Process.Signal(syscall.SIGQUIT) })
	defer timer.Stop()
	<-c.ended
	return nil
}

func (c *Cluster) lastLog() string {
	out, err := os.ReadFile(filepath.Join(c.dir, "server.log"))
	if err != nil {
		return err.Error()
	}
	return lastLines(out)
}

func lastLines(out []byte) string {
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-5):], []byte(" | ")))
}
