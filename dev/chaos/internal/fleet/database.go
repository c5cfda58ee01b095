package fleet

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/ma-messagerie/messagerie/chassis/localpg"
)

// Standby is how a database is copied.
type Standby string

// None has no copy. Of a Synchronous one, what is committed has been received by the
// copy; of an Asynchronous one it will be.
const (
	None         Standby = ""
	Synchronous  Standby = "synchronous"
	Asynchronous Standby = "asynchronous"
)

// Database is the private PostgreSQL, with its standby if it has one.
type Database struct {
	// Acting is held by whoever does something to it.
	Acting sync.Mutex

	mu      sync.Mutex
	cluster *localpg.Cluster
	dir     string
	// standby copies the cluster, in the other of the two folders.
	standby *localpg.Cluster
	spare   string
	copied  Standby
	// address is where the services find it: it leads to one of the two.
	address *bridge
}

func (d *Database) options(dir string) localpg.Options {
	opts := localpg.Options{Dir: dir, Durable: true}
	if d.copied != None {
		// A standby looks for a primary that was away after 5 seconds by default.
		opts.Settings = map[string]string{"wal_retrieve_retry_interval": "200ms"}
	}
	if d.copied == Synchronous {
		opts.Settings["synchronous_standby_names"] = "*"
	}
	return opts
}

// Start starts it, the first time with an empty folder.
func (d *Database) Start(ctx context.Context) error {
	opts := d.options(d.dir)
	if d.standby == nil {
		opts.Settings = nil // nobody is there yet to wait for
	}
	cluster, err := localpg.Start(ctx, opts)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cluster = cluster
	return nil
}

// copyTo starts the standby, and then has the primary wait for it if it is to.
func (d *Database) copyTo(ctx context.Context, how Standby) error {
	d.copied, d.spare = how, d.dir+"-spare"
	if err := d.rejoin(ctx); err != nil || how != Synchronous {
		return err
	}
	for _, sql := range []string{`ALTER SYSTEM SET synchronous_standby_names = '*'`, `SELECT pg_reload_conf()`} {
		if _, err := Query[struct{ Done any }](ctx, d, "postgres", sql); err != nil {
			return err
		}
	}
	return nil
}

// FailOver ends the primary, by a shutdown or as a crash would, and promotes the
// standby. The services' address goes on leading to the former primary, which comes back
// as the standby of the new one: see [Database.Move].
func (d *Database) FailOver(ctx context.Context, crash bool) error {
	end := d.cluster.Stop
	if crash {
		end = d.cluster.Kill
	}
	if err := end(); err != nil {
		return err
	}
	if err := d.standby.Promote(ctx); err != nil {
		return err
	}
	d.mu.Lock()
	d.cluster, d.standby = d.standby, nil
	d.dir, d.spare = d.spare, d.dir
	d.mu.Unlock()
	return d.rejoin(ctx)
}

// rejoin has the spare folder follow the primary.
func (d *Database) rejoin(ctx context.Context) error {
	standby, err := localpg.Follow(ctx, d.cluster, d.options(d.spare))
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.standby = standby
	return nil
}

// Move has the services' address lead to the primary. Connections that are open stay
// where they are.
func (d *Database) Move() { d.address.lead(socketOf(d.cluster)) }

// Freeze silences every connection of the services without closing it. New ones work,
// or with mute say nothing either.
func (d *Database) Freeze(mute bool) { d.address.freeze(mute) }

func socketOf(c *localpg.Cluster) string { return filepath.Join(c.Dir(), ".s.PGSQL.5432") }

// Stop ends both.
func (d *Database) Stop() error {
	var faults []error
	for _, c := range []*localpg.Cluster{d.standby, d.cluster} {
		if c != nil {
			faults = append(faults, c.Stop())
		}
	}
	return errors.Join(faults...)
}

// URL is how to connect to a service's database, past every link.
func (d *Database) URL(service string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cluster.URL(service)
}

// Kill ends all its processes with -9.
func (d *Database) Kill() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cluster.Kill()
}

// Recreate makes a service's database anew, without tables.
func (d *Database) Recreate(ctx context.Context, service string) error {
	for _, sql := range []string{`DROP DATABASE IF EXISTS ` + service + ` WITH (FORCE)`, `CREATE DATABASE ` + service} {
		if _, err := Query[struct{}](ctx, d, "postgres", sql); err != nil {
			return fmt.Errorf("making the database of %s anew: %w", service, err)
		}
	}
	return nil
}

func (f *Fleet) startDatabase(ctx context.Context, _ string) error {
	f.Database = &Database{dir: f.Path("postgres")}
	if err := f.Database.Start(ctx); err != nil {
		return err
	}
	for _, name := range databases {
		if err := f.Database.cluster.CreateDatabase(ctx, name); err != nil {
			return err
		}
		if f.Options.Clock {
			if err := f.Database.fakeClock(ctx, name); err != nil {
				return err
			}
		}
	}
	var err error
	if f.bridge, err = newBridge(ctx, socketOf(f.Database.cluster)); err != nil {
		return err
	}
	f.Database.address = f.bridge
	if f.Options.Standby == None {
		return nil
	}
	return f.Database.copyTo(ctx, f.Options.Standby)
}

// databases are those of the services that have one, by their names.
var databases = []string{"taxonomy", "messaging", "notifier", "vault"}

// LoseReferences has the sequence of references begin anew, as a table that was restored
// without it does.
func (d *Database) LoseReferences(ctx context.Context) error {
	return d.exec(ctx, "messaging", `SELECT setval('reference_block', 0, false)`)
}

// exec runs statements in a service's database, past every link.
func (d *Database) exec(ctx context.Context, service, sql string) error {
	conn, err := pgx.Connect(ctx, d.URL(service))
	if err != nil {
		return fmt.Errorf("asking the database: %w", err)
	}
	defer conn.Close(ctx)
	if _, err := conn.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
		return fmt.Errorf("asking the database: %w", err)
	}
	return nil
}

// Query asks a service's database, past every link, and returns its rows by the
// order of their columns.
func Query[T any](ctx context.Context, d *Database, service, sql string, args ...any) ([]T, error) {
	conn, err := pgx.Connect(ctx, d.URL(service))
	if err != nil {
		return nil, fmt.Errorf("asking the database: %w", err)
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("asking the database: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[T])
	if err != nil {
		return nil, fmt.Errorf("asking the database: %w", err)
	}
	return list, nil
}
