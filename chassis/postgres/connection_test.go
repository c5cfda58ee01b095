package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
)

// road is a TCP way to a database whose connections can be frozen: they stay open, and
// nothing comes through any more.
type road struct {
	url string

	mu     sync.Mutex
	frozen chan struct{} // closed for the connections that are frozen
}

func newRoad(t *testing.T, database string) *road {
	t.Helper()
	to, err := pgx.ParseConfig(database)
	if err != nil {
		t.Fatal(err)
	}
	lis, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lis.Close() })
	r := &road{
		url:    fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=disable", to.User, to.Password, lis.Addr(), to.Database),
		frozen: make(chan struct{}),
	}
	go func() {
		for {
			from, err := lis.Accept()
			if err != nil {
				return
			}
			r.mu.Lock()
			frozen := r.frozen
			r.mu.Unlock()
			go r.carry(t.Context(), from, to, frozen)
		}
	}()
	return r
}

func (r *road) carry(ctx context.Context, from net.Conn, to *pgx.ConnConfig, frozen chan struct{}) {
	network, address := pgconn.NetworkAddress(to.Host, to.Port)
	end, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		from.Close()
		return
	}
	context.AfterFunc(ctx, func() { from.Close(); end.Close() })
	copying := func(dst, src net.Conn) {
		defer dst.Close()
		buffer := make([]byte, 4096)
		for {
			n, err := src.Read(buffer)
			select {
			case <-frozen:
				<-ctx.Done()
				return
			default:
			}
			if n > 0 {
				_, _ = dst.Write(buffer[:n])
			}
			if err != nil {
				return
			}
		}
	}
	go copying(end, from)
	copying(from, end)
}

// freeze freezes every connection there is; those to come work.
func (r *road) freeze() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.frozen)
	r.frozen = make(chan struct{})
}

// A pool whose server has become read-only under it, as the former primary has after a
// fail-over, lets go of every connection at the first that says so.
func TestPool_LeavesAReadOnlyServer(t *testing.T) {
	t.Parallel()
	pool := open(t, testenv.Postgres(t, migrations(1))+"&pool_max_conns=3")
	write := func() error {
		_, err := pool.Exec(t.Context(), `INSERT INTO step_1 DEFAULT VALUES`)
		return err
	}
	if err := postgres.Writable(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	demote := func() {
		t.Helper()
		for _, conn := range pool.AcquireAllIdle(t.Context()) {
			if _, err := conn.Exec(t.Context(), `SET default_transaction_read_only = on`); err != nil {
				t.Fatal(err)
			}
			conn.Release()
		}
	}
	fill := func() {
		t.Helper()
		for range 3 {
			conn, err := pool.Acquire(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Release()
		}
	}
	fill()
	demote()
	if err := write(); !postgres.IsUnreachable(err) {
		t.Errorf("the first to notice: %v", err)
	}
	for range 3 {
		if err := write(); err != nil {
			t.Errorf("after it: %v", err)
		}
	}
	// Readiness notices too, before anybody writes.
	fill()
	demote()
	if err := postgres.Writable(t.Context(), pool); err == nil {
		t.Error("a server that can only be read is writable")
	}
	if err := write(); err != nil {
		t.Errorf("after readiness has noticed: %v", err)
	}
	// And what changes nothing when it fails is done again at once.
	fill()
	demote()
	if err := postgres.Again(t.Context(), write); err != nil {
		t.Errorf("done again: %v", err)
	}
}

// A server that can only be read is none for a pool that writes, and one for reports.
func TestOpen_WantsToWrite(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t, nil)
	admin := open(t, url)
	set := func(value string) {
		t.Helper()
		var name string
		if err := admin.QueryRow(t.Context(), `SELECT quote_ident(current_database())`).Scan(&name); err != nil {
			t.Fatal(err)
		}
		if _, err := admin.Exec(t.Context(), `ALTER DATABASE `+name+` SET default_transaction_read_only = `+value); err != nil {
			t.Fatal(err)
		}
	}
	set("on")
	var group sync.WaitGroup
	for _, attrs := range []string{"", "&target_session_attrs=any", "&target_session_attrs=read-write"} {
		group.Go(func() {
			// Long enough to be told why, whatever else runs here.
			ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
			_, err := postgres.Open(ctx, url+attrs)
			cancel()
			if err == nil || !strings.Contains(err.Error(), "read only connection") {
				t.Errorf("opened %q on a server that can only be read: %v", attrs, err)
			}
			reports, err := postgres.Open(t.Context(), url+attrs, postgres.Reports(1, time.Second))
			if err != nil {
				t.Errorf("reports %q: %v", attrs, err)
				return
			}
			reports.Close()
		})
	}
	group.Wait()
	opened := make(chan error, 1)
	go func() {
		pool, err := postgres.Open(t.Context(), url)
		if err == nil {
			pool.Close()
		}
		opened <- err
	}()
	set("off") // the standby is promoted
	if err := <-opened; err != nil {
		t.Error(err)
	}
}

// Connections whose other end is silent: the first that is asked tells for all.
func TestPool_LeavesSilentConnections(t *testing.T) {
	t.Parallel()
	r := newRoad(t, testenv.Postgres(t, nil))
	pool := open(t, r.url+"&pool_max_conns=4")
	asked, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		conn, err := pool.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Release()
	}
	if postgres.AskIdle(t.Context(), pool, asked.Conn()) || asked.Conn().IsClosed() {
		t.Error("a connection that works passes for silent")
	}
	r.freeze()
	// Whoever asks may leave; the answer is awaited all the same.
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if !postgres.AskIdle(gone, pool, asked.Conn()) || !asked.Conn().IsClosed() {
		t.Error("a silent connection was not noticed")
	}
	asked.Release()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := postgres.Writable(ctx, pool); err != nil {
		t.Errorf("with a new connection: %v", err)
	}
}

// Neither a silent server nor a connection that nobody gives back keeps a process from
// ending.
func TestClose_EndsInTime(t *testing.T) {
	t.Parallel()
	r := newRoad(t, testenv.Postgres(t, nil))
	pool := open(t, r.url)
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Release)
	r.freeze()
	closed := make(chan struct{})
	go func() { postgres.Close(pool); close(closed) }()
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Error("Close waits for a silent server")
	}
}

// A server that takes connections and says nothing is no reason to wait for ever, even
// for whoever has set no deadline.
func TestOpen_SilentServer(t *testing.T) {
	t.Parallel()
	lis, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lis.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = postgres.Open(ctx, "postgres://me@"+lis.Addr().String()+"/db?connect_timeout=1")
	if err == nil {
		t.Error("opened")
	}
}

// Of the ways in which pgx asks, those that work here do, and the others are refused.
func TestOpen_QueryExecMode(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t, nil)
	for mode, works := range map[string]bool{
		"cache_statement": true, "cache_describe": true, "describe_exec": true, "exec": false, "simple_protocol": false,
	} {
		url := url + "&default_query_exec_mode=" + mode
		if err := postgres.CheckURL("X_DATABASE_URL", url); (err == nil) != works || err != nil && !strings.Contains(err.Error(), "X_DATABASE_URL: default_query_exec_mode=") {
			t.Errorf("%s: %v", mode, err)
		}
		if !works {
			if _, err := postgres.Open(t.Context(), url); err == nil || !strings.Contains(err.Error(), "default_query_exec_mode") {
				t.Errorf("%s: %v", mode, err)
			}
			continue
		}
		ids, got := []uuid.UUID{uuid.New(), uuid.New()}, []uuid.UUID(nil)
		if err := open(t, url).QueryRow(t.Context(), `SELECT array_agg(id) FROM unnest($1::uuid[]) AS id`, ids).Scan(&got); err != nil || len(got) != 2 {
			t.Errorf("%s: %v, %v", mode, got, err)
		}
	}
	for _, url := range []string{"postgres://me:s3cret@host:port/db", "host=h password=s3cret port=x"} {
		if err := postgres.CheckURL("X_DATABASE_URL", url); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: %v", url, err)
		}
	}
	if err := postgres.CheckURL("X_DATABASE_URL", ""); err != nil {
		t.Errorf("what is not set is said elsewhere: %v", err)
	}
}

func TestIsUnreachable(t *testing.T) {
	t.Parallel()
	sql := func(code string) error { return &pgconn.PgError{Code: code} }
	for _, test := range []struct {
		err  error
		want bool
	}{
		{sql("08006"), true}, // connection failure
		{sql("28P01"), true}, // wrong password, after a rotation
		{sql("53300"), true}, // too many connections
		{sql("57014"), true}, // statement time-out
		{sql("57P01"), true}, // administrator's shutdown
		{sql("57P03"), true}, // starting
		{sql("25006"), true}, // read-only, after a fail-over
		{sql("40P01"), true}, // deadlock, again and again
		{sql("25001"), false},
		{sql("23505"), false},
		{sql("23514"), false},
		{sql("42P01"), false}, // no such table
		{sql(""), false},
		{io.ErrUnexpectedEOF, true},
		{&net.OpError{Op: "read", Err: errors.New("connection reset by peer")}, true},
		{&pgconn.ConnectError{}, true},
		{context.Canceled, false},
		{context.DeadlineExceeded, false},
		{pgx.ErrNoRows, false},
		{errors.New("anything"), false},
		{nil, false},
	} {
		wrapped := test.err
		if wrapped != nil {
			wrapped = fmt.Errorf("storing: %w", test.err)
		}
		if got := postgres.IsUnreachable(wrapped); got != test.want {
			t.Errorf("%v: %t", test.err, got)
		}
	}
}

// Two transactions that wait for each other: the one that is given up is done again.
func TestAgain_AfterADeadlock(t *testing.T) {
	t.Parallel()
	pool := open(t, testenv.Postgres(t, nil)+"&deadlock_timeout=10ms")
	if _, err := pool.Exec(t.Context(), `CREATE TABLE pair (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO pair VALUES (1), (2)`); err != nil {
		t.Fatal(err)
	}
	var both sync.WaitGroup // each has its first row
	both.Add(2)
	var tried [2]int
	var group sync.WaitGroup
	for i, ids := range [][2]int{{1, 2}, {2, 1}} {
		group.Go(func() {
			err := postgres.Again(t.Context(), func() error {
				tried[i]++
				return pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
					if _, err := tx.Exec(t.Context(), `UPDATE pair SET n = n + 1 WHERE id = $1`, ids[0]); err != nil {
						return err
					}
					if tried[i] == 1 {
						both.Done()
						both.Wait()
					}
					_, err := tx.Exec(t.Context(), `UPDATE pair SET n = n + 1 WHERE id = $1`, ids[1])
					return err
				})
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	var sum int
	if err := pool.QueryRow(t.Context(), `SELECT sum(n) FROM pair`).Scan(&sum); err != nil || sum != 4 {
		t.Errorf("the two added %d to two rows: %v", sum, err)
	}
	if tried[0]+tried[1] < 3 {
		t.Errorf("tried %v times: there was no deadlock", tried)
	}
	// What is wrong is done once, and what goes on four times.
	for code, want := range map[string]int{"23505": 1, "40P01": 4} {
		n := 0
		err := postgres.Again(t.Context(), func() error { n++; return &pgconn.PgError{Code: code} })
		if n != want || err == nil {
			t.Errorf("%s: done %d times, %v", code, n, err)
		}
	}
}
