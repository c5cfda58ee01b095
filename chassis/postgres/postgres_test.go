package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/ma-messagerie/messagerie/chassis"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
)

var spans = tracetest.NewSpanRecorder()

func TestMain(m *testing.M) {
	otel.SetTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)))
	m.Run()
}

func open(t *testing.T, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := postgres.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// migrations are the first n of a schema.
func migrations(n int) fstest.MapFS {
	files := fstest.MapFS{}
	for i := 1; i <= n; i++ {
		files[fmt.Sprintf("%05d_step.sql", i)] = &fstest.MapFile{Data: fmt.Appendf(nil,
			"-- +goose Up\nCREATE TABLE step_%d (at timestamptz NOT NULL DEFAULT now());\n-- +goose Down\nDROP TABLE step_%[1]d;\n", i)}
	}
	return files
}

func TestOpen_Session(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t, nil)
	for _, row := range []struct{ url, setting, want string }{
		{url, "TimeZone", "UTC"},
		{url, "statement_timeout", "30s"},
		{url, "idle_in_transaction_session_timeout", "10s"},
		{url, "application_name", "postgres.test"},
		{url + "&statement_timeout=5s", "statement_timeout", "5s"},
		{url + "&application_name=me", "application_name", "me"},
	} {
		var got string
		if err := open(t, row.url).QueryRow(t.Context(), `SELECT current_setting($1)`, row.setting).Scan(&got); err != nil {
			t.Fatal(err)
		}
		if got != row.want {
			t.Errorf("%s is %q, want %q", row.setting, got, row.want)
		}
	}
}

// What reads much can neither write, nor take more connections, cores or time than it
// is given, and can be told from the rest.
func TestOpen_Reports(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t, migrations(1))
	pool, err := postgres.Open(t.Context(), url+"&pool_max_conns=7&statement_timeout=20s&application_name=me", postgres.Reports(2, 1500*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	for setting, want := range map[string]string{
		"statement_timeout": "1500ms", "max_parallel_workers_per_gather": "0", "application_name": "me reports",
		"TimeZone": "UTC", "idle_in_transaction_session_timeout": "10s",
	} {
		var got string
		if err := pool.QueryRow(t.Context(), `SELECT current_setting($1)`, setting).Scan(&got); err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("%s is %q, want %q", setting, got, want)
		}
	}
	if pool.Config().MaxConns != 2 {
		t.Errorf("%d connections", pool.Config().MaxConns)
	}
	var fault *pgconn.PgError
	if _, err := pool.Exec(t.Context(), `INSERT INTO step_1 DEFAULT VALUES`); !errors.As(err, &fault) || fault.Code != "25006" {
		t.Errorf("writing: %v", err)
	}
	if _, err := pool.Exec(t.Context(), `SELECT pg_sleep(20)`); !errors.As(err, &fault) || fault.Code != "57014" {
		t.Errorf("sleeping: %v", err)
	}
}

func TestOpen_TimesAreUTC(t *testing.T) {
	t.Parallel()
	var at time.Time
	if err := open(t, testenv.Postgres(t, nil)).QueryRow(t.Context(), `SELECT '2026-07-14 12:00:00+02'::timestamptz`).Scan(&at); err != nil {
		t.Fatal(err)
	}
	if want := time.Date(2026, 7, 14, 10, 0, 0, 0, time.UTC); at != want { // not Equal: the location is the point
		t.Errorf("got %s, want %s", at, want)
	}
}

func TestOpen_Limits(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t, nil)
	var fault *pgconn.PgError
	if _, err := open(t, url+"&statement_timeout=50ms").Exec(t.Context(), `SELECT pg_sleep(60)`); !errors.As(err, &fault) || fault.Code != "57014" {
		t.Errorf("a statement without end: %v", err)
	}
	tx, err := open(t, url+"&idle_in_transaction_session_timeout=50ms").Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(t.Context())
	// The server cuts the session; another one sees it go.
	pid := tx.Conn().PgConn().PID()
	watch := open(t, url)
	for cut := false; !cut; {
		if err := watch.QueryRow(t.Context(), `SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1), pg_sleep(0.02)::text`, pid).Scan(&cut, new(string)); err != nil {
			t.Fatal(err)
		}
	}
}

// Arguments may be anything a member has written.
func TestOpen_TracesWithoutArguments(t *testing.T) {
	t.Parallel()
	const canary = "canari-4711"
	ctx, root := otel.Tracer("test").Start(t.Context(), "root")
	if _, err := open(t, testenv.Postgres(t, nil)).Exec(ctx, `SELECT $1::text`, canary); err != nil {
		t.Fatal(err)
	}
	root.End()
	seen := false
	for _, span := range spans.Ended() {
		if span.SpanContext().TraceID() != root.SpanContext().TraceID() {
			continue
		}
		for _, attr := range span.Attributes() {
			seen = seen || strings.Contains(attr.Value.String(), "SELECT $1")
			if strings.Contains(attr.Value.String(), canary) {
				t.Errorf("span %s has the argument in %s", span.Name(), attr.Key)
			}
		}
	}
	if !seen {
		t.Error("the query was not traced")
	}
}

func TestOpen_RefusalIsReportedAtOnce(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for _, row := range []struct{ name, url, want string }{
		{"no such database", strings.Replace(url, "/test_", "/absent_", 1), "3D000"},
		{"no such role", strings.Replace(url, "postgres@", "absent@", 1), "28000"},
	} {
		if _, err := postgres.Open(ctx, row.url); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v", row.name, err)
		}
	}
	if ctx.Err() != nil {
		t.Error("waited for what waiting does not mend")
	}
}

func TestOpen_WaitsForTheServer(t *testing.T) {
	t.Parallel()
	// A port that nobody listens on: the wait ends with the context.
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := postgres.Open(ctx, "postgres://me:s3cret@"+address+"/db"); err == nil || ctx.Err() == nil {
		t.Errorf("did not wait: %v", err)
	} else if strings.Contains(err.Error(), "s3cret") {
		t.Errorf("the error tells the password: %v", err)
	}
}

// A first connection that nobody answers, as when a packet is lost while a container's
// network is being made, does not use up the whole wait.
func TestOpen_TriesAgainWhenNobodyAnswers(t *testing.T) {
	t.Parallel()
	real, err := pgx.ParseConfig(testenv.Postgres(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	network, address := pgconn.NetworkAddress(real.Host, real.Port)
	var config net.ListenConfig
	lis, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lis.Close() })
	go func() {
		silent := true
		for {
			from, err := lis.Accept()
			if err != nil {
				return
			}
			if silent {
				silent = false // and it stays open
				continue
			}
			to, err := (&net.Dialer{}).DialContext(t.Context(), network, address)
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(to, from); to.Close() }()
			go func() { _, _ = io.Copy(from, to); from.Close() }()
		}
	}()
	pool, err := postgres.Open(t.Context(), fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=disable", real.User, real.Password, lis.Addr(), real.Database))
	if err != nil {
		t.Fatal(err)
	}
	pool.Close()
}

func TestOpen_WrongURLDoesNotTellThePassword(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"postgres://me:s3cret@host:port/db", "host=h password=s3cret port=x", ""} {
		_, err := postgres.Open(t.Context(), url+"\x00")
		if err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: %v", url, err)
		}
		if err := postgres.Migrate(t.Context(), url+"\x00", migrations(1)); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: %v", url, err)
		}
	}
}

func TestMigrate_ByManyAtOnce(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t, nil)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := postgres.Migrate(t.Context(), url, migrations(3)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	pool := open(t, url)
	var applied int
	if err := pool.QueryRow(t.Context(), `SELECT count(*) FROM goose_db_version WHERE version_id > 0`).Scan(&applied); err != nil {
		t.Fatal(err)
	}
	if applied != 3 {
		t.Errorf("%d migrations applied, want 3", applied)
	}
}

func TestMigrate_FailureLeavesWhatWasThere(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t, migrations(1))
	broken := migrations(2)
	broken["00003_broken.sql"] = &fstest.MapFile{Data: []byte("-- +goose Up\nCREATE TABLE half ();\nSELECT nothing FROM nowhere;\n")}
	if err := postgres.Migrate(t.Context(), url, broken); err == nil || !strings.Contains(err.Error(), "version:3") {
		t.Errorf("got %v", err)
	}
	var half bool
	if err := open(t, url).QueryRow(t.Context(), `SELECT to_regclass('half') IS NOT NULL`).Scan(&half); err != nil || half {
		t.Errorf("half a migration is left: %v %v", half, err)
	}
}

func TestCheckSchema(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name       string
		have, need int
		want       string
	}{
		{"nothing there", 0, 1, "is at version 0 and this binary needs 1"},
		{"older", 3, 5, "is at version 3 and this binary needs 5"},
		{"the same", 3, 3, ""},
		// A binary that was rolled back, or has not been replaced yet.
		{"newer", 5, 3, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			var done fs.FS
			if row.have > 0 {
				done = migrations(row.have)
			}
			url := testenv.Postgres(t, done)
			err := postgres.CheckSchema(t.Context(), open(t, url), migrations(row.need))
			if (err == nil) != (row.want == "") || (err != nil && !strings.Contains(err.Error(), row.want)) {
				t.Errorf("got %v, want %q", err, row.want)
			}
			// Whatever it found, starting with MIGRATE=true mends it.
			if err := postgres.Migrate(t.Context(), url, migrations(row.need)); err != nil {
				t.Error(err)
			}
			if err := postgres.CheckSchema(t.Context(), open(t, url), migrations(row.need)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestOpenSchema_WaitsForAnothersMigration(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t, nil)
	opened := make(chan error, 1)
	go func() {
		pool, err := postgres.OpenSchema(t.Context(), url, migrations(2), false)
		if err == nil {
			pool.Close()
		}
		opened <- err
	}()
	if err := postgres.Migrate(t.Context(), url, migrations(2)); err != nil {
		t.Fatal(err)
	}
	if err := <-opened; err != nil {
		t.Error(err)
	}
}

func TestMigrateCommand(t *testing.T) {
	url := testenv.Postgres(t, migrations(1))
	t.Setenv("X_DATABASE_URL", url)
	run := func(n int, args ...string) (string, error) {
		var out strings.Builder
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		err := postgres.MigrateCommand("x", postgres.Schema{Database: "DATABASE", Migrations: migrations(n)}).Run(ctx, args, &out)
		return out.String(), err
	}
	for _, row := range []struct {
		name     string
		n        int
		args     []string
		out, err string
		misuse   bool
	}{
		{"older", 3, []string{"status"}, "", "is at version 1 and this binary needs 3", false},
		{"up", 3, []string{"up"}, "schema at version 3, this program needs 3", "", false},
		{"up again", 3, []string{"up"}, "schema at version 3, this program needs 3", "", false},
		{"newer than the program", 2, []string{"up"}, "schema at version 3, this program needs 2", "", false},
		{"no word", 3, nil, "", "usage: x migrate up|status", true},
		{"another word", 3, []string{"down"}, "", "usage: x migrate up|status", true},
	} {
		out, err := run(row.n, row.args...)
		if !strings.Contains(out, row.out) || (err == nil) != (row.err == "") || err != nil && !strings.Contains(err.Error(), row.err) {
			t.Errorf("%s: %q, %v", row.name, out, err)
		}
		if errors.As(err, &chassis.Misuse{}) != row.misuse {
			t.Errorf("%s: %v", row.name, err)
		}
	}
	t.Setenv("X_DATABASE_URL", "")
	if _, err := run(3, "up"); !errors.As(err, &chassis.Misuse{}) || !strings.Contains(err.Error(), "X_DATABASE_URL") {
		t.Errorf("no database: %v", err)
	}
}

func TestCheckSchema_WithoutMigrations(t *testing.T) {
	t.Parallel()
	pool := open(t, testenv.Postgres(t, nil))
	files := migrations(1)
	maps.DeleteFunc(files, func(name string, _ *fstest.MapFile) bool { return filepath.Ext(name) == ".sql" })
	if err := postgres.CheckSchema(t.Context(), pool, files); err == nil {
		t.Error("an empty set of migrations was taken")
	}
}

// Who waits for a connection gives up while there is still time to be told, and takes no
// connection along.
func TestOpen_NoneFree(t *testing.T) {
	t.Parallel()
	pool := open(t, testenv.Postgres(t, nil)+"&pool_max_conns=1")
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(t.Context())
	ask := func(ctx context.Context) error { return pool.QueryRow(ctx, `SELECT 1`).Scan(new(int)) }
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	if err := ask(ctx); !postgres.IsUnreachable(err) || errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
		t.Errorf("after half of the time: %v, %v", err, ctx.Err())
	}
	gone, leave := context.WithCancel(ctx)
	leave()
	if err := ask(gone); !errors.Is(err, context.Canceled) || postgres.IsUnreachable(err) {
		t.Errorf("who has gone: %v", err)
	}
	patient := make(chan error, 1)
	go func() { patient <- ask(t.Context()) }()
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-patient; err != nil {
		t.Errorf("who has all the time: %v", err)
	}
	if n := pool.Stat().NewConnsCount(); n != 1 {
		t.Errorf("%d connections were made, want 1", n)
	}
}

// A process that starts does not wait for ever for a database that says nothing, and is
// told at once what waiting does not mend.
func TestAtStart(t *testing.T) {
	t.Parallel()
	tries := 0
	err := postgres.AtStart(t.Context(), func(ctx context.Context) error {
		if tries++; tries == 1 {
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	})
	if err != nil || tries != 2 {
		t.Errorf("after silence: %v, tried %d times", err, tries)
	}
	tries = 0
	mistake := errors.New("the file is wrong")
	if err := postgres.AtStart(t.Context(), func(context.Context) error { tries++; return mistake }); !errors.Is(err, mistake) || tries != 1 {
		t.Errorf("what is our own: %v, tried %d times", err, tries)
	}
	tries = 0
	err = postgres.AtStart(t.Context(), func(context.Context) error {
		if tries++; tries < 3 {
			return &pgconn.PgError{Code: "57P03"}
		}
		return nil
	})
	if err != nil || tries != 3 {
		t.Errorf("while it starts: %v, tried %d times", err, tries)
	}
}

// altering is a migration that needs step_1 for itself for a moment, indexing one that
// makes an index of it beside everybody.
const (
	altering = "-- +goose Up\nALTER TABLE step_1 ADD COLUMN b text;\n"
	indexing = "-- +goose NO TRANSACTION\n-- +goose Up\nSET lock_timeout = 0;\nDROP INDEX CONCURRENTLY IF EXISTS step_1_at;\nCREATE INDEX CONCURRENTLY step_1_at ON step_1 (at);\n"
)

// waitsOf tells each time that a migration begins to wait for somebody.
func waitsOf(t *testing.T, url string) <-chan struct{} {
	t.Helper()
	waits, pool := make(chan struct{}, 1000), open(t, url)
	go func() {
		for was := false; ; {
			var is bool
			err := pool.QueryRow(t.Context(), `
				SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query ~ '^(ALTER|CREATE|DROP)'),
				       pg_sleep(0.01)::text`).Scan(&is, new(string))
			if err != nil {
				return
			}
			if is && !was {
				waits <- struct{}{}
			}
			was = is
		}
	}()
	return waits
}

// While somebody reads a table, a migration of it waits, and nobody waits for the
// migration.
func TestMigrate_NobodyWaitsForIt(t *testing.T) {
	t.Parallel()
	for name, step := range map[string]string{"a change": altering, "an index": indexing, "both": indexing + "\x00" + altering} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := testenv.Postgres(t, migrations(1))
			next := migrations(1)
			for i, content := range strings.Split(step, "\x00") {
				next[fmt.Sprintf("%05d_next.sql", i+2)] = &fstest.MapFile{Data: []byte(content)}
			}
			pool := open(t, url)
			reader, err := pool.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer reader.Rollback(t.Context())
			// A cursor, as of a dump: its snapshot is old, and its lock is held.
			if _, err := reader.Exec(t.Context(), `DECLARE dump CURSOR FOR SELECT * FROM step_1`); err != nil {
				t.Fatal(err)
			}
			migrated := make(chan error, 1)
			go func() { migrated <- postgres.Migrate(t.Context(), url, next) }()
			// A change gives up and comes again, an index waits where it is.
			waits := waitsOf(t, url)
			for left := 1 + strings.Count(name, "change"); left > 0; {
				// Who came behind a lock that is waited for would wait with it.
				if _, err := pool.Exec(t.Context(), `INSERT INTO step_1 SELECT now() FROM set_config('lock_timeout', '2s', false)`); err != nil {
					t.Fatal(err)
				}
				select {
				case <-waits:
					left--
				case err := <-migrated:
					t.Fatalf("migrated beside a reader: %v", err)
				default:
				}
			}
			if err := reader.Rollback(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := <-migrated; err != nil {
				t.Fatal(err)
			}
			if err := postgres.CheckSchema(t.Context(), pool, next); err != nil {
				t.Error(err)
			}
		})
	}
}

// An index whose making was cut off is made the next time.
func TestMigrate_CutOff(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t, migrations(1))
	next := migrations(1)
	next["00002_next.sql"] = &fstest.MapFile{Data: []byte(indexing)}
	pool := open(t, url)
	reader, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Rollback(t.Context())
	if _, err := reader.Exec(t.Context(), `DECLARE dump CURSOR FOR SELECT * FROM step_1`); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	migrated := make(chan error, 1)
	go func() { migrated <- postgres.Migrate(ctx, url, next) }()
	valid := func(want bool) {
		t.Helper()
		for got := !want; got != want; {
			err := pool.QueryRow(t.Context(), `SELECT indisvalid, pg_sleep(0.01)::text FROM pg_index WHERE indexrelid = to_regclass('step_1_at')`).Scan(&got, new(string))
			if err != nil && !errors.Is(err, pgx.ErrNoRows) {
				t.Fatal(err)
			}
		}
	}
	valid(false)
	cancel()
	if err := <-migrated; err == nil {
		t.Fatal("migrated beside a reader")
	}
	if err := reader.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := postgres.Migrate(t.Context(), url, next); err != nil {
		t.Fatal(err)
	}
	valid(true)
}
