// Package testenv gives tests the real servers that production talks to. Only
// tests, and packages that exist for tests, import it.
//
// A server that cannot be started skips the test on a laptop and fails it when
// the environment variable CI is set, so that a pipeline never passes by not
// having run. TEST_DATABASE_URL names a PostgreSQL to use instead of a private
// one, as postgres://…, with the right to create databases. No other variable of
// the environment is read.
package testenv

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/nats-io/nats-server/v2/server"

	"github.com/ma-messagerie/messagerie/chassis/localpg"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
)

// Unavailable ends a test whose server is not there: it is skipped, unless CI is set.
func Unavailable(t testing.TB, err error) {
	t.Helper()
	if os.Getenv("CI") != "" { //nolint:forbidigo // tests have no configuration; documented above
		t.Fatal(err)
	}
	t.Skip(err)
}

// shared is the one server of a test process, as a function from the name of a
// database to its URL.
var shared = sync.OnceValues(func() (func(database string) string, error) {
	if given := os.Getenv("TEST_DATABASE_URL"); given != "" { //nolint:forbidigo // tests have no configuration; documented above
		address, err := url.Parse(given)
		if err != nil || address.Scheme == "" {
			return nil, errors.New("TEST_DATABASE_URL is not of the form postgres://user:password@host/database")
		}
		return func(database string) string { return address.JoinPath("..", database).String() }, nil
	}
	cluster, err := startCluster(context.Background())
	if err != nil {
		return nil, fmt.Errorf("starting PostgreSQL: %w", err)
	}
	return cluster.URL, nil
})

const tempFolders = "/var/tmp"

// Cluster is a PostgreSQL server of this test's own, for one that looks into its files or
// stops it. With files, it begins with a copy of that folder of a cluster that is stopped.
func Cluster(t testing.TB, files string) *localpg.Cluster {
	t.Helper()
	dir, err := tempFolder()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if files != "" {
		if out, err := exec.CommandContext(t.Context(), "cp", "-a", files, filepath.Join(dir, "pg")).CombinedOutput(); err != nil { //nolint:gosec // a test's own
			t.Fatalf("copying: %v\n%s", err, out)
		}
	}
	cluster, err := localpg.Start(t.Context(), localpg.Options{Dir: filepath.Join(dir, "pg")})
	if err != nil {
		Unavailable(t, err)
	}
	t.Cleanup(func() { _ = cluster.Stop() })
	return cluster
}

// tempFolder makes a folder that user postgres gets through; its name has the process's id,
// see sweep.
func tempFolder() (string, error) {
	dir, err := os.MkdirTemp(tempFolders, fmt.Sprintf("messagerie-test-%d-*", os.Getpid()))
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o755) //nolint:gosec // as above
}

// startCluster starts a cluster that ends with this process.
func startCluster(ctx context.Context) (*localpg.Cluster, error) {
	sweep(tempFolders)
	dir, err := tempFolder()
	if err != nil {
		return nil, err
	}
	opts := localpg.Options{Dir: filepath.Join(dir, "pg")}
	cluster, err := localpg.Start(ctx, opts)
	if errors.Is(err, localpg.ErrNoBinaries) && os.Geteuid() == 0 {
		if err := localpg.Install(ctx); err != nil {
			return nil, err
		}
		cluster, err = localpg.Start(ctx, opts)
	}
	return cluster, err
}

// sweep removes the folders of test processes that have ended. The server ends
// with its process, but nobody is left to remove its files.
func sweep(parent string) {
	dirs, err := filepath.Glob(filepath.Join(parent, "messagerie-test-*-*"))
	if err != nil {
		return
	}
	for _, dir := range dirs {
		var pid int
		if _, err := fmt.Sscanf(filepath.Base(dir), "messagerie-test-%d-", &pid); err != nil || running(pid) {
			continue
		}
		// The server of a process that was killed may still be writing: what is
		// left then is for the next time.
		_ = os.RemoveAll(dir)
	}
}

func running(pid int) bool {
	return !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}

var templates sync.Map // of migrations' digest to *template

type template struct {
	once sync.Once
	name string
	err  error
}

// Postgres returns the URL of a database of this test's own, with the migrations
// applied (nil: none). It is cloned from a template, which takes some 30 ms, and
// goes away with the test; sessions that are left open are cut. A template stays
// on the server of TEST_DATABASE_URL, one per schema, for the next run.
func Postgres(t testing.TB, migrations fs.FS) string {
	t.Helper()
	address, err := shared()
	if err != nil {
		Unavailable(t, err)
	}
	digest, err := digestOf(migrations)
	if err != nil {
		t.Fatal(err)
	}
	entry, _ := templates.LoadOrStore(digest, &template{name: "messagerie_template_" + digest})
	source := entry.(*template)
	// Not the test's context: the template outlives the test that came first.
	source.once.Do(func() { source.err = source.build(context.Background(), address, migrations) })
	if source.err != nil {
		t.Fatal(source.err)
	}
	name := "test_" + strings.ToLower(rand.Text())
	if err := execute(t.Context(), address("postgres"), `CREATE DATABASE `+name+` TEMPLATE `+source.name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := execute(context.Background(), address("postgres"), `DROP DATABASE `+name+` WITH (FORCE)`); err != nil {
			t.Log(err)
		}
	})
	return address(name)
}

// build makes the template unless it is there. It is made under another name and
// renamed, so that one cut short, or one that another process is making, is not
// taken for whole.
func (tmpl *template) build(ctx context.Context, address func(string) string, migrations fs.FS) error {
	conn, err := pgx.Connect(ctx, address("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	var there bool
	if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`, tmpl.name).Scan(&there); err != nil || there {
		return err
	}
	draft := "draft_" + strings.ToLower(rand.Text())
	if err := execute(ctx, address("postgres"), `CREATE DATABASE `+draft); err != nil {
		return err
	}
	if migrations != nil {
		if err := postgres.Migrate(ctx, address(draft), migrations); err != nil {
			return err
		}
	}
	err = execute(ctx, address("postgres"), `ALTER DATABASE `+draft+` RENAME TO `+tmpl.name)
	var fault *pgconn.PgError
	if errors.As(err, &fault) && fault.Code == "42P04" { // duplicate_database: another process was faster
		return execute(ctx, address("postgres"), `DROP DATABASE `+draft)
	}
	return err
}

func execute(ctx context.Context, address, sql string) error {
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	if _, err = conn.Exec(ctx, sql); err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}
	return nil
}

func digestOf(migrations fs.FS) (string, error) {
	if migrations == nil {
		return "empty", nil
	}
	sum := sha256.New()
	err := fs.WalkDir(migrations, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(migrations, path)
		fmt.Fprintf(sum, "%s\x00%d\x00%s", path, len(content), content)
		return err
	})
	return fmt.Sprintf("%x", sum.Sum(nil)[:8]), err
}

// Broker is a NATS server with JetStream.
type Broker struct {
	// URL stays the same across Stop and Start.
	URL  string
	dir  string
	port int
	srv  *server.Server
	// denied are the subjects that nobody may publish to.
	denied []string
}

// NATS starts a broker of this test's own, which fsyncs before it acknowledges
// and ends with the test.
func NATS(t testing.TB) *Broker {
	t.Helper()
	b := &Broker{dir: t.TempDir(), port: server.RANDOM_PORT}
	b.Start(t)
	t.Cleanup(b.Stop)
	return b
}

// Start starts a stopped broker again, on the same port, with what its store
// holds.
func (b *Broker) Start(t testing.TB) {
	t.Helper()
	srv, err := server.NewServer(b.options())
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		t.Fatal("the broker does not answer")
	}
	b.srv, b.URL = srv, srv.ClientURL()
	if b.port == server.RANDOM_PORT {
		b.port = srv.Addr().(*net.TCPAddr).Port
	}
}

// Deny makes the broker refuse what is published to these subjects, and to no others. As in
// production, publishers get no answer.
func (b *Broker) Deny(t testing.TB, subjects ...string) {
	t.Helper()
	b.denied = subjects
	if err := b.srv.ReloadOptions(b.options()); err != nil {
		t.Fatal(err)
	}
}

func (b *Broker) options() *server.Options {
	const anybody = "anybody"
	permissions := &server.Permissions{Publish: &server.SubjectPermission{Deny: b.denied}}
	return &server.Options{
		Host: "127.0.0.1", Port: b.port, JetStream: true, StoreDir: b.dir, SyncAlways: true,
		NoLog: true, NoSigs: true,
		Users: []*server.User{{Username: anybody, Permissions: permissions}}, NoAuthUser: anybody,
	}
}

// Stop ends the broker and keeps its store.
func (b *Broker) Stop() {
	b.srv.Shutdown()
	b.srv.WaitForShutdown()
}

// Wipe deletes the store of a stopped broker.
func (b *Broker) Wipe(t testing.TB) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(b.dir, "jetstream")); err != nil {
		t.Fatal(err)
	}
}
