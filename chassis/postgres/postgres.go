// Package postgres opens pools, keeps schemas up to date, and reads and writes rows by the
// names of their columns ([One], [Many], [Rows]).
//
// # Fail-overs and vanished servers
//
// A pool that writes uses no connection to a read-only server, whatever address it was
// reached by, and drops all of them as soon as one turns out to lead to such a server: after
// a fail-over, the first statement that reaches the new primary works. [Writable] is the
// readiness check. A connection whose other end has vanished silently is noticed within ten
// seconds by the kernel, within two if it was idle and is about to be used, and while in use
// when the statement's deadline passes: statements of callers and of loops all have one. A
// pool that only reads (Reports) uses any server.
//
// Under overload, a pool refuses statements that have waited for a connection for half of
// their time, and serves the others ([IsUnreachable]).
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
// Expensive queries have a pool of their own ([Reports]), so that nothing else waits for
// connections that they use.
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
	// attemptTimeout bounds one attempt: a lost packet, or a name that does not resolve
	// while a network is being set up, would otherwise take all of startWait.
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

// Reports makes the pool one for expensive queries: of this many connections, which only
// read, cancel a statement after the time-out, and use one core each: parallel workers would
// take cores from those who write. The server's list of sessions shows them by "reports"
// after the process's name, and so do the pool's metrics.
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

// reportsName is the suffix of the names of the reports' sessions and pool.
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
	// Metrics of the pool's connections and waits; a closed pool has none.
	if err := otelpgx.RecordStats(pool, otelpgx.WithStatsAttributes(semconv.DBClientConnectionPoolName(nameOf(cfg.ConnConfig)))); err != nil {
		pool.Close()
		return nil, fmt.Errorf("measuring the pool: %w", err)
	}
	return pool, nil
}

// nameOf names a pool in its metrics, apart from the process's others.
func nameOf(cfg *pgx.ConnConfig) string {
	name := fmt.Sprintf("%s:%d/%s", cfg.Host, cfg.Port, cfg.Database)
	if strings.HasSuffix(cfg.RuntimeParams["application_name"], reportsName) {
		name += reportsName
	}
	return name
}

// registerTypes makes timestamps be read in UTC, where pgx would use the process's zone, and
// UUIDs be sent and read as their 16 bytes, where pgx would treat google/uuid's as text
// because of database/sql's interfaces.
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

// AtStart does what a process needs from its database before it serves. While the database
// cannot be reached or does not answer, it tries again, for up to 30 seconds and each time
// for up to five.
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

// wait retries until it works, fails with a fault that waiting does not cure, or the time is
// over.
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
			return last // which says more than that time was up
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

// permanent reports whether a fault at the start is a refusal (password, no such database)
// and not a server that is not up yet.
func permanent(err error) bool {
	var fault interface{ SQLState() string }
	if !errors.As(err, &fault) || len(fault.SQLState()) < 2 {
		return false
	}
	class := fault.SQLState()[:2]
	return class == "28" || class == "3D"
}
