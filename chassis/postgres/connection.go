package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// connectTimeout bounds one attempt to connect, if the URL does not: also to a server
	// that accepts the connection and does not answer.
	connectTimeout = 5 * time.Second
	// silence is how long the other end's kernel may acknowledge nothing before a
	// connection is given up.
	silence = 10 * time.Second
	// askAfter is how long a connection may be idle before it is pinged before use, and
	// answerTimeout how long the answer may take.
	askAfter      = time.Second
	answerTimeout = 2 * time.Second
	// closeTimeout is how long Close waits for the other ends.
	closeTimeout = 2 * time.Second
)

// readOnly is PostgreSQL's code for a write where only reading is possible.
const readOnly = "25006"

// connections are what a pool's connections have in common.
type connections struct {
	// pool is nil until there is one.
	pool atomic.Pointer[pgxpool.Pool]
}

// link sets how connections are made: with time-outs, and, if the pool is to write, to a
// server that can be written to. The URL may name several hosts: the first suitable one is
// used.
func link(cfg *pgx.ConnConfig) {
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = connectTimeout
	}
	dialer := &net.Dialer{
		Timeout: cfg.ConnectTimeout, Control: userTimeout,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: silence, Interval: silence / 2, Count: 3},
	}
	cfg.DialFunc = dialer.DialContext
	if writes(cfg) && cfg.ValidateConnect == nil {
		cfg.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
}

// writes reports whether connections are to write.
func writes(cfg *pgx.ConnConfig) bool {
	return cfg.RuntimeParams["default_transaction_read_only"] != "on"
}

// watch sets when and how a pool drops its connections.
func (c *connections) watch(cfg *pgxpool.Config) {
	cfg.ShouldPing = c.shouldPing
	if cfg.PingTimeout == 0 {
		cfg.PingTimeout = answerTimeout
	}
	// pgx closes a connection by asking the server to cancel what it does, and waits for up
	// to fifteen seconds, during which the connection counts in the pool.
	cfg.BeforeClose = func(conn *pgx.Conn) {
		raw := conn.PgConn().Conn()
		time.AfterFunc(answerTimeout, func() { _ = raw.Close() })
	}
	if !writes(cfg.ConnConfig) {
		return
	}
	keep := cfg.ConnConfig.OnPgError
	cfg.ConnConfig.OnPgError = func(conn *pgconn.PgConn, fault *pgconn.PgError) bool {
		if fault.Code == readOnly {
			c.renew("the server has become read-only")
			return false
		}
		return keep(conn, fault)
	}
}

// shouldPing pings a connection that has been idle. If it does not answer, its other end has
// probably vanished silently, and with it that of the pool's other connections: pinged one by
// one, they would take minutes.
func (c *connections) shouldPing(ctx context.Context, idle pgxpool.ShouldPingParams) bool {
	if idle.IdleDuration < askAfter {
		return false
	}
	// Without the caller's cancellation, which would close a connection that works.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTimeout)
	defer cancel()
	if err := idle.Conn.Ping(ctx); err == nil {
		return false
	}
	if ctx.Err() != nil {
		c.renew("a connection does not answer")
	}
	return true // the pool pings it, finds it closed, and drops it
}

// renew closes all connections, those in use when they come back.
func (c *connections) renew(why string) {
	pool := c.pool.Load()
	if pool == nil {
		return
	}
	slog.Warn("reconnecting to the database", "pool", nameOf(pool.Config().ConnConfig), "because", why)
	pool.Reset()
}

// errReadOnly is what Writable returns of a server that answers.
var errReadOnly = errors.New("the server can only be read: a standby, or one that was the primary")

// Writable returns nil when the pool's database can be written to now. It is the readiness
// check of a database that the service writes to. If all connections are in use, the database
// works: a busy process that reported that it is not ready would leave its work to others
// that are no less busy.
func Writable(ctx context.Context, pool *pgxpool.Pool) error {
	var only bool
	err := pool.QueryRow(ctx, `SELECT current_setting('transaction_read_only')::boolean`).Scan(&only)
	if errors.Is(err, errNoneFree) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("asking the database: %w", err)
	}
	if only {
		pool.Reset()
		return errReadOnly
	}
	return nil
}

// Close closes a pool. It waits for two seconds at most: a connection whose other end
// is silent would take fifteen.
func Close(pool *pgxpool.Pool) {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		pool.Close()
	}()
	timer := time.NewTimer(closeTimeout)
	defer timer.Stop()
	select {
	case <-closed:
	case <-timer.C:
		slog.Warn("the database does not let go of its connections", "pool", nameOf(pool.Config().ConnConfig))
	}
}

// modes are pgx's modes of executing queries that work here. The others send arguments as
// text whose types the server has to infer, which it cannot for arrays of UUIDs.
var modes = map[pgx.QueryExecMode]bool{
	pgx.QueryExecModeCacheStatement: true, pgx.QueryExecModeCacheDescribe: true, pgx.QueryExecModeDescribeExec: true,
}

// CheckURL returns what is wrong with a database URL, without quoting it: it may hold
// a password. An empty one is accepted: whether a URL is required is for the setting to say.
func CheckURL(setting, url string) error {
	if url == "" {
		return nil
	}
	cfg, err := pgxpool.ParseConfig(url)
	if err == nil {
		err = checkMode(cfg.ConnConfig)
	} else {
		err = errURL
	}
	if err != nil {
		return fmt.Errorf("%s: %w", setting, err)
	}
	return nil
}

var errURL = errors.New("cannot be read: give postgres://user:password@host/database or key=value pairs")

func checkMode(cfg *pgx.ConnConfig) error {
	if modes[cfg.DefaultQueryExecMode] {
		return nil
	}
	return fmt.Errorf("default_query_exec_mode=%s does not work here: leave it out, or behind a pooler use cache_describe or describe_exec", cfg.DefaultQueryExecMode)
}
