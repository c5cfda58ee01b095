package localpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/jackc/pgx/v5"
)

// Follow starts a cluster in opts.Dir that is a copy of another, which must be running,
// and goes on copying what that commits (a streaming standby). What is in the folder is
// replaced. It can be read, and written to after [Cluster.Promote].
func Follow(ctx context.Context, primary *Cluster, opts Options) (*Cluster, error) {
	if opts.Dir == "" {
		return nil, errors.New("a standby needs a folder")
	}
	c, attr, err := occupy(ctx, opts.Dir)
	if err != nil {
		return nil, err
	}
	bin, err := find(primary.version())
	if err != nil {
		return nil, err
	}
	if err := c.copyOf(ctx, primary, bin, attr); err != nil {
		return nil, err
	}
	if err := c.serve(ctx, bin, opts, attr); err != nil {
		return nil, err
	}
	return c, nil
}

// copyOf copies a running cluster, with what makes the copy its standby.
func (c *Cluster) copyOf(ctx context.Context, primary *Cluster, bin string, attr *syscall.SysProcAttr) error {
	fresh := c.data() + ".new"
	for _, old := range []string{fresh, c.data()} {
		if err := os.RemoveAll(old); err != nil {
			return fmt.Errorf("making room for the standby: %w", err)
		}
	}
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "pg_basebackup"), "--pgdata="+fresh, "--host="+primary.dir, "--username="+superuser, //nolint:gosec // from folders of the system
		"--checkpoint=fast", "--wal-method=stream", "--write-recovery-conf", "--no-sync")
	cmd.Dir = c.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: attr.Credential}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("copying the primary: %w: %s", err, lastLines(out))
	}
	if err := os.Rename(fresh, c.data()); err != nil {
		return fmt.Errorf("copying the primary: %w", err)
	}
	return nil
}

// Promote makes a standby a primary and returns when it can be written to.
func (c *Cluster) Promote(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, c.URL("postgres"))
	if err != nil {
		return fmt.Errorf("promoting: %w", err)
	}
	defer conn.Close(ctx)
	var done bool
	if err := conn.QueryRow(ctx, `SELECT pg_promote(true, 30)`).Scan(&done); err != nil {
		return fmt.Errorf("promoting: %w", err)
	}
	if !done {
		return errors.New("promoting: not done in 30 seconds")
	}
	return nil
}
