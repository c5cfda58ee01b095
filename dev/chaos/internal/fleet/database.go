package fleet

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/ma-messagerie/messagerie/chassis/localpg"
)

// Database is the private PostgreSQL.
type Database struct {
	// Acting is held by whoever does something to it.
	Acting sync.Mutex

	mu      sync.Mutex
	cluster *localpg.Cluster
	dir     string
}

// Start starts it, the first time with an empty folder.
func (d *Database) Start(ctx context.Context) error {
	cluster, err := localpg.Start(ctx, localpg.Options{Dir: d.dir, Durable: true})
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cluster = cluster
	return nil
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
	for _, name := range []string{"taxonomy", "messaging", "notifier"} {
		if err := f.Database.cluster.CreateDatabase(ctx, name); err != nil {
			return err
		}
	}
	var err error
	f.bridge, err = newBridge(ctx, filepath.Join(f.Database.cluster.Dir(), ".s.PGSQL.5432"))
	return err
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
