// Package testenv gives tests the real servers that production talks to. Only
// tests, and packages that exist for tests, import it.
//
// A server that cannot be started skips the test on a laptop and fails it when
// the environment variable CI is set, so that a pipeline never passes by not
// having run.
package testenv

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats-server/v2/server"

	"github.com/ma-messagerie/messagerie/chassis/localpg"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
)

// unavailable ends a test whose server is not there.
func unavailable(t testing.TB, err error) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(err)
	}
	t.Skip(err)
}

// shared is the one cluster of a test process.
var shared = sync.OnceValues(func() (*localpg.Cluster, error) {
	sweep()
	dir, err := os.MkdirTemp("/var/tmp", tempPattern)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // user postgres must get through it
		return nil, err
	}
	// The test process is told its pid by this name, see sweep.
	if err := os.WriteFile(filepath.Join(dir, "pid"), fmt.Append(nil, os.Getpid()), 0o600); err != nil {
		return nil, err
	}
	cluster, err := localpg.Start(context.Background(), localpg.Options{Dir: filepath.Join(dir, "pg")})
	if errors.Is(err, localpg.ErrNoBinaries) && os.Geteuid() == 0 {
		if err := localpg.Install(context.Background()); err != nil {
			return nil, err
		}
		cluster, err = localpg.Start(context.Background(), localpg.Options{Dir: filepath.Join(dir, "pg")})
	}
	return cluster, err
})

const tempPattern = "messagerie-test-*"

// sweep removes the folders of test processes that have ended. The server ends
// with its process, but nobody is left to remove its files.
func sweep() {
	dirs, err := filepath.Glob(filepath.Join("/var/tmp", tempPattern))
	if err != nil {
		return
	}
	for _, dir := range dirs {
		pid, err := os.ReadFile(filepath.Join(dir, "pid"))
		if err != nil {
			continue // being made, or not ours to judge
		}
		if _, err := os.Stat(filepath.Join("/proc", string(pid))); errors.Is(err, fs.ErrNotExist) {
			os.RemoveAll(dir)
		}
	}
}

var (
	templates sync.Map // of migrations' digest to *template
	databases atomic.Int64
)

type template struct {
	once sync.Once
	name string
	err  error
}

// Postgres returns the URL of a database of this test's own, with the migrations
// applied (nil: none). It is cloned from a template, which takes some 30 ms, and
// goes away with the process.
func Postgres(t testing.TB, migrations fs.FS) string {
	t.Helper()
	cluster, err := shared()
	if err != nil {
		unavailable(t, fmt.Errorf("starting PostgreSQL: %w", err))
	}
	digest, err := digestOf(migrations)
	if err != nil {
		t.Fatal(err)
	}
	entry, _ := templates.LoadOrStore(digest, &template{name: "template_" + digest})
	source := entry.(*template)
	source.once.Do(func() { source.err = source.build(cluster, migrations) })
	if source.err != nil {
		t.Fatal(source.err)
	}
	name := fmt.Sprintf("test_%d", databases.Add(1))
	if err := execute(t.Context(), cluster, `CREATE DATABASE `+name+` TEMPLATE `+source.name); err != nil {
		t.Fatal(err)
	}
	return cluster.URL(name)
}

func (tmpl *template) build(cluster *localpg.Cluster, migrations fs.FS) error {
	// Not a test's context: the template outlives the test that came first.
	ctx := context.Background()
	if err := cluster.CreateDatabase(ctx, tmpl.name); err != nil || migrations == nil {
		return err
	}
	return postgres.Migrate(ctx, cluster.URL(tmpl.name), migrations)
}

func execute(ctx context.Context, cluster *localpg.Cluster, sql string) error {
	conn, err := pgx.Connect(ctx, cluster.URL("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, sql)
	return err
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
		fmt.Fprintf(sum, "%s\x00%s\x00", path, content)
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
	srv, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: b.port, JetStream: true, StoreDir: b.dir, SyncAlways: true,
		NoLog: true, NoSigs: true, DontListen: false,
	})
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
