// Package postgres opens pools, keeps schemas up to date, and reads and writes rows by the
// names of their columns ([One], [Many], [Rows]).
//
// # Fail-overs and silent ends
//
// A pool that writes takes no connection to a server that can only be read, whatever
// address it was reached by, and lets all of them go as soon as one turns out to be to
// such a server: after a fail-over, the first statement that reaches the new primary
// works. [Writable] is what readiness asks. A connection whose other end has vanished
// without a word is noticed within ten seconds by the kernel, within two when it was
// idle and is to be used, and in use by whoever's deadline passes: statements of
// callers and of loops all have one. A pool that only reads (Reports) takes any server.
//
// Where more statements are asked for than its connections can do, a pool refuses those
// that have waited for half of their time, and does the others ([IsUnreachable]).
//
// When it breaks: what a primary committed and had not sent to the standby that is
// promoted is lost, unless it commits synchronously. A statement under way when its
// connection goes may have been done.
//
// # Sessions
//
// Every connection works in UTC, gives up a statement after 30 seconds, and is
// cut by the server when it leaves a transaction open for ten: one stalled
// process must not hold locks, or hold back the vacuum of the others. Times come
// back in UTC. Queries are traced by their text, never with their arguments.
//
// What reads much has a pool of its own ([Reports]), so that nothing else waits for
// its connections.
//
// The limits are session parameters of the connection's start. A pooler in
// between must let them pass (PgBouncer: ignore_startup_parameters), and then they
// must be set on the role instead; those of Reports on a role for them. It must pool
// sessions, as the lock of migrations is a session's.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
	pgxuuid "github.com/vgarvardt/pgx-google-uuid/v5"
	semconv "go.opentelemetry.io/otel/semconv/v1.37.0"
)

const (
	// startWait is how long Open and Migrate wait for a database that is not up
	// yet, so that processes can be started in any order.
	startWait = 30 * time.Second
	// attemptTimeout is what one attempt may take of it: a lost packet, or a name that
	// is not answered while a network is being made, would else be all of the wait.
	attemptTimeout = 5 * time.Second
	// retryPause is the wait between two attempts meanwhile.
	retryPause = 200 * time.Millisecond
)

// sessionSettings are set on every connection unless the URL says otherwise.
var sessionSettings = map[string]string{
	"timezone":                            "UTC",
	"statement_timeout":                   "30s",
	"idle_in_transaction_session_timeout": "10s",
}

// Option changes what Open opens.
type Option func(*pgxpool.Config)

// Reports makes the pool one for what reads much: of so many connections, which only
// read, give up a statement after the time-out, and take one core each: a report that
// is read by parallel workers takes the cores of those who write. The server's list of
// sessions shows them by "reports" behind the process's name, and so do the pool's
// figures.
func Reports(connections int, timeout time.Duration) Option {
	return func(cfg *pgxpool.Config) {
		cfg.MaxConns = int32(connections) //nolint:gosec // a setting of at most some hundred
		cfg.MinConns, cfg.MinIdleConns = 0, 0
		cfg.ConnConfig.ValidateConnect = nil // any server can be read
		for name, value := range map[string]string{
			"default_transaction_read_only":   "on",
			"statement_timeout":               strconv.FormatInt(timeout.Milliseconds(), 10),
			"max_parallel_workers_per_gather": "0",
			"application_name":                cfg.ConnConfig.RuntimeParams["application_name"] + reportsName,
		} {
			cfg.ConnConfig.RuntimeParams[name] = value
		}
	}
}

// reportsName tells the reports' sessions and pool from the others.
const reportsName = " reports"

// Open returns a pool and waits up to 30 seconds for its database to answer.
func Open(ctx context.Context, url string, options ...Option) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		// The parser's error may quote the URL, password and all.
		return nil, fmt.Errorf("the database URL %w", errURL)
	}
	if err := checkMode(cfg.ConnConfig); err != nil {
		return nil, fmt.Errorf("the database URL: %w", err)
	}
	given := cfg.ConnConfig.RuntimeParams
	for name, value := range sessionSettings {
		if _, set := given[name]; !set {
			given[name] = value
		}
	}
	if given["application_name"] == "" {
		given["application_name"] = filepath.Base(os.Args[0])
	}
	for _, option := range options {
		option(cfg)
	}
	link(cfg.ConnConfig)
	all := &connections{}
	all.watch(cfg)
	cfg.AfterConnect = registerTypes
	cfg.ConnConfig.Tracer = tracer{otelpgx.NewTracer()}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("opening the database: %w", err)
	}
	all.pool.Store(pool)
	if err := wait(ctx, pool.Ping); err != nil {
		pool.Close()
		return nil, fmt.Errorf("reaching database %s at %s: %w", cfg.ConnConfig.Database, cfg.ConnConfig.Host, err)
	}
	// What the pool has, takes and waits for. Of a pool that is closed, nothing.
	if err := otelpgx.RecordStats(pool, otelpgx.WithStatsAttributes(semconv.DBClientConnectionPoolName(nameOf(cfg.ConnConfig)))); err != nil {
		pool.Close()
		return nil, fmt.Errorf("measuring the pool: %w", err)
	}
	return pool, nil
}

// nameOf tells one pool of a process from another in their figures.
func nameOf(cfg *pgx.ConnConfig) string {
	name := fmt.Sprintf("%s:%d/%s", cfg.Host, cfg.Port, cfg.Database)
	if strings.HasSuffix(cfg.RuntimeParams["application_name"], reportsName) {
		name += reportsName
	}
	return name
}

// registerTypes has time stamps read as UTC, as pgx gives them the process's zone, and
// UUIDs sent and read as their 16 bytes, as pgx takes google's for text by database/sql's
// interfaces.
func registerTypes(_ context.Context, conn *pgx.Conn) error {
	pgxuuid.Register(conn.TypeMap())
	conn.TypeMap().RegisterType(&pgtype.Type{
		Name: "timestamptz", OID: pgtype.TimestamptzOID, Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC},
	})
	return nil
}

// OpenSchema returns a pool on a database whose schema fits this binary: brought up
// to date first when migrate is set, else refused if it is still older after 30
// seconds.
func OpenSchema(ctx context.Context, url string, migrations fs.FS, migrate bool) (*pgxpool.Pool, error) {
	if migrate {
		if err := Migrate(ctx, url, migrations); err != nil {
			return nil, fmt.Errorf("bringing the schema up to date: %w", err)
		}
	}
	pool, err := Open(ctx, url)
	if err != nil {
		return nil, err
	}
	// Somebody else migrates, perhaps at this moment: a rollout starts the job and
	// the processes together.
	if err := wait(ctx, func(ctx context.Context) error { return CheckSchema(ctx, pool, migrations) }); err != nil {
		pool.Close()
		return nil, err
	}
	return pool, nil
}

// AtStart does what a process needs of its database before it serves, and again, for up to
// 30 seconds and each time for up to five, while the database cannot be reached or says
// nothing.
func AtStart(ctx context.Context, do func(context.Context) error) error {
	var own error
	err := wait(ctx, func(ctx context.Context) error {
		err := do(ctx)
		if err != nil && ctx.Err() == nil && !IsUnreachable(err) {
			own = err
			return nil
		}
		return err
	})
	return errors.Join(own, err)
}

// wait tries until it works, a fault is one that waiting does not mend, or the
// time is over.
func wait(ctx context.Context, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startWait)
	defer cancel()
	ticker := time.NewTicker(retryPause)
	defer ticker.Stop()
	var last error
	for {
		err := attempt(ctx, try)
		if err == nil || permanent(err) {
			return err
		}
		if last != nil && ctx.Err() != nil {
			return last // what was missing says more than that time was up
		}
		last = err
		select {
		case <-ctx.Done():
			return err
		case <-ticker.C:
		}
	}
}

func attempt(ctx context.Context, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	return try(ctx)
}

// permanent tells a refusal at the start (password, no such database) from a server
// that is not up yet.
func permanent(err error) bool {
	var fault interface{ SQLState() string }
	if !errors.As(err, &fault) || len(fault.SQLState()) < 2 {
		return false
	}
	class := fault.SQLState()[:2]
	return class == "28" || class == "3D"
}
