// Package localpg runs a private PostgreSQL from the binaries of this machine,
// for tests and for the development launcher. Production code never imports it.
//
// The cluster listens on a unix socket alone. It ends with the process that
// started it, also when that one is killed: the kernel then sends the postmaster
// a fast-shutdown signal. As root the server runs as user postgres, which
// PostgreSQL insists on.
package localpg

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// superuser owns the cluster, whoever runs it.
	superuser = "postgres"
	// maxSocketPath is what the kernel takes (sockaddr_un), less the name that
	// PostgreSQL appends and its own margin.
	maxSocketPath = 107 - len("/.s.PGSQL.5432.lock")
	// startTimeout bounds the wait for a first answer, recovery included.
	startTimeout = 60 * time.Second
	probePause   = 20 * time.Millisecond
)

// ErrNoBinaries is returned when no PostgreSQL server is installed.
var ErrNoBinaries = errors.New("no PostgreSQL server found: install it with `apt-get install postgresql` (or your system's package), or give database URLs")

// Options say where a cluster lives and how careful it is.
type Options struct {
	// Dir holds the data and the socket. It is made if missing. When user
	// postgres cannot reach it, another place that belongs to it alone is used.
	Dir string
	// Durable makes commits survive a crash of the machine. Tests do without.
	Durable bool
	// Settings are added to the command line.
	Settings map[string]string
}

// Cluster is a running server.
type Cluster struct {
	dir  string
	cmd  *exec.Cmd
	done chan error
	logs *os.File
}

// Install installs PostgreSQL with apt-get. It needs root and a Debian.
func Install(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return ErrNoBinaries
	}
	for _, args := range [][]string{{"update", "-q"}, {"install", "-y", "-q", "--no-install-recommends", "postgresql"}} {
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get %s: %w: %s", strings.Join(args, " "), err, lastLines(out))
		}
	}
	return nil
}

// Find returns the folder of the newest server's binaries, or ErrNoBinaries.
func Find() (string, error) {
	candidates, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil {
		return "", err
	}
	slices.SortFunc(candidates, func(a, b string) int { return major(b) - major(a) })
	if path, err := exec.LookPath("postgres"); err == nil {
		candidates = append(candidates, filepath.Dir(path))
	}
	for _, dir := range candidates {
		if executable(filepath.Join(dir, "postgres")) && executable(filepath.Join(dir, "initdb")) {
			return dir, nil
		}
	}
	return "", ErrNoBinaries
}

func major(bin string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(bin)))
	return n
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir() && info.Mode()&0o111 != 0
}

// Start starts the cluster in opts.Dir, after making it if there is none, and
// waits until it answers.
func Start(ctx context.Context, opts Options) (*Cluster, error) {
	bin, err := Find()
	if err != nil {
		return nil, err
	}
	attr, err := serverUser()
	if err != nil {
		return nil, err
	}
	dir, err := place(opts.Dir, attr.Credential)
	if err != nil {
		return nil, err
	}
	c := &Cluster{dir: dir, done: make(chan error, 1)}
	if err := c.awaitPredecessor(ctx); err != nil {
		return nil, err
	}
	if err := c.initialise(ctx, bin, attr); err != nil {
		return nil, err
	}
	if err := c.launch(bin, opts, attr); err != nil {
		return nil, err
	}
	if err := c.awaitAnswer(ctx); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

// serverUser is how to run the server: as user postgres when we are root.
func serverUser() (*syscall.SysProcAttr, error) {
	// The server must not get the Ctrl-C of our terminal: we stop it ourselves,
	// after those who use it. SIGINT is PostgreSQL's fast shutdown.
	attr := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGINT}
	if os.Geteuid() != 0 {
		return attr, nil
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL does not run as root and there is no user postgres: %w", err)
	}
	uid, err1 := strconv.ParseUint(account.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(account.Gid, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		return nil, fmt.Errorf("reading user postgres: %w", err)
	}
	attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return attr, nil
}

// place returns a folder that the server can use: the wanted one, or, when
// another user could not reach it or its socket's path would be too long, one
// under /var/tmp with a name made from the wanted one, found again next time.
func place(wanted string, owner *syscall.Credential) (string, error) {
	dir, err := filepath.Abs(wanted)
	if err != nil {
		return "", fmt.Errorf("placing the cluster: %w", err)
	}
	if len(dir) > maxSocketPath || (owner != nil && !reachable(dir)) {
		dir = filepath.Join("/var/tmp", fmt.Sprintf("messagerie-pg-%x", sha256.Sum256([]byte(dir)))[:len("messagerie-pg-")+12])
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("placing the cluster: %w", err)
	}
	if owner != nil {
		if err := os.Chown(dir, int(owner.Uid), int(owner.Gid)); err != nil {
			return "", fmt.Errorf("giving the cluster to user postgres: %w", err)
		}
	}
	return dir, nil
}

// reachable tells whether every existing folder above dir lets anybody through.
func reachable(dir string) bool {
	for parent := filepath.Dir(dir); ; parent = filepath.Dir(parent) {
		info, err := os.Stat(parent)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false
		}
		if err == nil && info.Mode()&0o001 == 0 {
			return false
		}
		if parent == filepath.Dir(parent) {
			return true
		}
	}
}

// awaitPredecessor waits for the server of a process that was killed a moment
// ago: it is shutting down, and still holds the folder.
func (c *Cluster) awaitPredecessor(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	ticker := time.NewTicker(probePause)
	defer ticker.Stop()
	for {
		pid := c.runningPID()
		if pid == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("another PostgreSQL (process %d) still uses %s: stop what started it", pid, c.data())
		case <-ticker.C:
		}
	}
}

// runningPID is the postmaster that holds the folder, or 0. A lock file whose
// process is gone, or has become another program, is PostgreSQL's to clean up.
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

// initialise makes the cluster unless it is there. It is made under another name
// and renamed, so that one cut short is not taken for whole.
func (c *Cluster) initialise(ctx context.Context, bin string, attr *syscall.SysProcAttr) error {
	if _, err := os.Stat(filepath.Join(c.data(), "PG_VERSION")); err == nil {
		return nil
	}
	fresh := c.data() + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return fmt.Errorf("making the cluster: %w", err)
	}
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), "--pgdata="+fresh, "--username="+superuser,
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
	args := []string{"-D", c.data(), "-k", c.dir, "-c", "listen_addresses=", "-c", "max_connections=200", "-c", "shared_buffers=128MB"}
	if !opts.Durable {
		args = append(args, "-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")
	}
	for name, value := range opts.Settings {
		args = append(args, "-c", name+"="+value)
	}
	c.cmd = exec.Command(filepath.Join(bin, "postgres"), args...) //nolint:noctx // it outlives any call; Stop ends it
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
			c.done <- c.cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		logs.Close()
		return fmt.Errorf("starting PostgreSQL: %w", err)
	}
	return nil
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
		case ended := <-c.done:
			c.done <- ended
			return fmt.Errorf("PostgreSQL ended at once (%w): %s", ended, c.lastLog())
		case <-ctx.Done():
			return fmt.Errorf("waiting for PostgreSQL: %w: %s", err, c.lastLog())
		case <-ticker.C:
		}
	}
}

// URL is how to connect to a database of the cluster.
func (c *Cluster) URL(database string) string {
	return fmt.Sprintf("host=%s user=%s dbname=%s", c.dir, superuser, database)
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
	if err != nil && !(errors.As(err, &fault) && fault.SQLState() == "42P04") { // duplicate_database
		return fmt.Errorf("making database %s: %w", name, err)
	}
	return nil
}

// Stop ends the server (fast shutdown: sessions are cut, nothing committed is
// lost) and waits until it is gone.
func (c *Cluster) Stop() error {
	defer c.logs.Close()
	if err := c.cmd.Process.Signal(syscall.SIGINT); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stopping PostgreSQL: %w", err)
	}
	<-c.done
	return nil
}

// Kill ends the server as a crash would and waits until it is gone.
func (c *Cluster) Kill() error {
	defer c.logs.Close()
	// SIGQUIT is PostgreSQL's immediate shutdown: its children go with it, which
	// SIGKILL of the postmaster alone would leave for a while.
	if err := c.cmd.Process.Signal(syscall.SIGQUIT); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("killing PostgreSQL: %w", err)
	}
	<-c.done
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
