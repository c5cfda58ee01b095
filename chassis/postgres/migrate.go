package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

const (
	// lockRetry is how often, in seconds, a process that waits for another one's
	// migration tries again, and lockTries how many times: half a day, as an index of a
	// large table takes its time. The default interval of five seconds would hold up every
	// replica started with the first.
	lockRetry = 1
	lockTries = 12 * 60 * 60
	// lockTimeout is how long a step of a migration waits for a lock, and so how long it
	// makes those behind it wait. It is then given up and retried after stepPause, doubled
	// up to stepPauseMax.
	lockTimeout  = 300 * time.Millisecond
	stepPause    = 500 * time.Millisecond
	stepPauseMax = 10 * time.Second
)

// Migrate brings the schema to the newest of the migrations. Any number of processes may
// do so at once: a session lock lets one work while the others wait.
//
// # What happens to others meanwhile
//
// What is promised: a migration makes nobody's statement wait longer than lockTimeout,
// whatever transactions are open on the database. How: a step that needs a table for itself
// needs it for a moment only, waits no longer than lockTimeout for it, and is rolled back and
// retried while somebody goes on reading; indexes of tables that are in use are created
// CONCURRENTLY, in files of their own without a transaction, which set lock_timeout to 0, as
// nobody waits behind them; rows are never changed by a migration, but by the process, in
// batches (dev/migration_lock_test.go refuses statements that are not known to comply). When
// it breaks: a transaction that is never closed holds up the migration for as long, which is
// logged.
func Migrate(ctx context.Context, url string, migrations fs.FS) error {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return fmt.Errorf("the database URL %w", errURL)
	}
	link(cfg)
	// Set by a statement: poolers refuse to start with parameters that they do not know.
	db := stdlib.OpenDB(*cfg, stdlib.OptionAfterConnect(func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, fmt.Sprintf("SET lock_timeout = %d", lockTimeout.Milliseconds()))
		return err
	}))
	defer db.Close()
	db.SetMaxIdleConns(-1) // each step begins with a new session's settings
	if err := wait(ctx, db.PingContext); err != nil {
		return fmt.Errorf("reaching database %s at %s: %w", cfg.Database, cfg.Host, err)
	}
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(lockRetry, lockTries))
	if err != nil {
		return fmt.Errorf("making the migration lock: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, migrations, goose.WithSessionLocker(locker))
	if err != nil {
		return fmt.Errorf("reading the migrations: %w", err)
	}
	for pause := stepPause; ; {
		step, err := provider.UpByOne(ctx)
		switch {
		case err == nil:
			slog.InfoContext(ctx, "migrated", "database", cfg.Database, "version", step.Source.Version, "took", step.Duration.String())
			pause = stepPause
			continue
		case errors.Is(err, goose.ErrNoNextVersion):
			return nil
		case !lockedOut(err):
			return fmt.Errorf("migrating database %s: %w", cfg.Database, err)
		}
		slog.WarnContext(ctx, "a migration waits until others release a table; nobody waits for it", "database", cfg.Database, "retry_in", pause.String(), "error", err)
		select {
		case <-ctx.Done():
			return fmt.Errorf("migrating database %s: %w", cfg.Database, err)
		case <-time.After(pause):
		}
		pause = min(2*pause, stepPauseMax)
	}
}

// lockedOut reports whether a step was rolled back because of others' locks.
func lockedOut(err error) bool {
	var fault *pgconn.PgError
	return errors.As(err, &fault) && (fault.Code == "55P03" || fault.Code == "40P01")
}

// CheckSchema returns an error when the schema is older than the migrations, so
// that a process does not run into missing columns one by one. A newer schema is
// fine: migrations only add until every process has moved on.
func CheckSchema(ctx context.Context, pool *pgxpool.Pool, migrations fs.FS) error {
	need, err := newestOf(pool, migrations)
	if err != nil {
		return err
	}
	have, err := schemaVersion(ctx, pool)
	if err != nil {
		return fmt.Errorf("reading the schema's version: %w", err)
	}
	if have < need {
		return fmt.Errorf("the schema of database %s is at version %d and this binary needs %d: run its command \"migrate up\" (on Kubernetes the migration job), or start it with MIGRATE=true", pool.Config().ConnConfig.Database, have, need)
	}
	return nil
}

func newestOf(pool *pgxpool.Pool, migrations fs.FS) (int64, error) {
	db := stdlib.OpenDBFromPool(pool)
	defer db.Close() // not the pool
	files, err := goose.NewProvider(goose.DialectPostgres, db, migrations)
	if err != nil {
		return 0, fmt.Errorf("reading the migrations: %w", err)
	}
	sources := files.ListSources()
	return sources[len(sources)-1].Version, nil
}

// schemaVersion returns the newest migration applied, 0 for none. goose would create its
// table to answer that, and so interfere with a migration under way.
func schemaVersion(ctx context.Context, pool *pgxpool.Pool) (version int64, err error) {
	var migrated bool
	if err := pool.QueryRow(ctx, `SELECT to_regclass('goose_db_version') IS NOT NULL`).Scan(&migrated); err != nil || !migrated {
		return 0, err
	}
	err = pool.QueryRow(ctx, `SELECT coalesce(max(version_id), 0) FROM goose_db_version`).Scan(&version)
	return version, err
}
