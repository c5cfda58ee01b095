package testenv

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"

	"github.com/ma-messagerie/messagerie/chassis/localpg"
)

var schema = fstest.MapFS{"00001_word.sql": {Data: []byte("-- +goose Up\nCREATE TABLE word (word text);\n")}}

func ask(t *testing.T, address, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var answer string
	if err := conn.QueryRow(t.Context(), sql).Scan(&answer); err != nil {
		t.Fatal(err)
	}
	return answer
}

func TestPostgres_OneForEachTest(t *testing.T) {
	t.Parallel()
	urls := make(map[string]bool)
	for range 3 {
		address := Postgres(t, schema)
		if urls[address] {
			t.Errorf("%s was given twice", address)
		}
		urls[address] = true
		if got := ask(t, address, `SELECT count(*)::text FROM word`); got != "0" {
			t.Errorf("%s words in a fresh database", got)
		}
		ask(t, address, `INSERT INTO word VALUES ('mine') RETURNING word`)
	}
}

func TestPostgres_GoesWithItsTest(t *testing.T) {
	t.Parallel()
	var left *pgx.Conn
	t.Run("inner", func(t *testing.T) {
		var err error
		if left, err = pgx.Connect(t.Context(), Postgres(t, schema)); err != nil {
			t.Fatal(err)
		}
	})
	if left == nil {
		t.SkipNow()
	}
	if err := left.Ping(t.Context()); err == nil {
		t.Error("the database is still there")
	}
}

func TestDigest_TellsSchemasApart(t *testing.T) {
	t.Parallel()
	seen := make(map[string]int)
	for i, files := range []fstest.MapFS{
		schema,
		{"00001_word.sql": {Data: []byte("-- +goose Up\nCREATE TABLE word (word int);\n")}},
		{"00002_word.sql": schema["00001_word.sql"]},
		{"a": {Data: []byte("b")}, "c": {Data: nil}},
		{"a": {Data: nil}, "bc": {Data: nil}},
	} {
		digest, err := digestOf(files)
		if err != nil {
			t.Fatal(err)
		}
		if other, ok := seen[digest]; ok {
			t.Errorf("schemas %d and %d are taken for one", other, i)
		}
		seen[digest] = i
	}
}

// The tests above are run again, by this binary, on a server that they are given.
func TestPostgres_GivenServer(t *testing.T) {
	t.Parallel()
	if os.Getenv("TEST_DATABASE_URL") != "" { //nolint:forbidigo // set by this test itself
		t.Skip("this is the second run")
	}
	cluster, err := localpg.Start(t.Context(), localpg.Options{})
	if err != nil {
		Unavailable(t, err)
	}
	t.Cleanup(func() {
		if err := cluster.Stop(); err != nil {
			t.Error(err)
		}
	})
	for range 2 {
		again := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestPostgres_", "-test.v")
		again.Env = append(os.Environ(), "CI=1", "TEST_DATABASE_URL="+cluster.URL("postgres"))
		if out, err := again.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestPostgres_OneForEachTest") {
			t.Fatalf("%v\n%s", err, out)
		}
		if got := ask(t, cluster.URL("postgres"), `SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database WHERE datname !~ '^(postgres|template[01])$'`); len(strings.Fields(got)) != 1 {
			t.Errorf("left on the server: %s", got)
		}
	}
}

func TestSweep(t *testing.T) {
	t.Parallel()
	ended := exec.CommandContext(t.Context(), "true")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	parent := t.TempDir()
	for name, stays := range map[string]bool{
		"messagerie-test-" + strconv.Itoa(os.Getpid()) + "-1":       true,
		"messagerie-test-" + strconv.Itoa(ended.Process.Pid) + "-2": false,
		"messagerie-test-x-3": true,
		"messagerie-tests-" + strconv.Itoa(ended.Process.Pid) + "-4": true,
	} {
		if err := os.MkdirAll(filepath.Join(parent, name, "pg"), 0o700); err != nil {
			t.Fatal(err)
		}
		sweep(parent)
		if _, err := os.Stat(filepath.Join(parent, name)); (err == nil) != stays {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBroker_KeepsPortAndStore(t *testing.T) {
	t.Parallel()
	broker := NATS(t)
	address := broker.URL
	count := func() uint64 {
		conn, err := nats.Connect(address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		js, err := conn.JetStream()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := js.AddStream(&nats.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
			t.Fatal(err)
		}
		ack, err := js.Publish("s", nil)
		if err != nil {
			t.Fatal(err)
		}
		return ack.Sequence
	}
	if n := count(); n != 1 {
		t.Errorf("%d messages in a fresh store", n)
	}
	broker.Stop()
	broker.Start(t)
	if n := count(); n != 2 || broker.URL != address {
		t.Errorf("%d messages at %s, want 2 at %s", n, broker.URL, address)
	}
	broker.Stop()
	broker.Wipe(t)
	broker.Start(t)
	if n := count(); n != 1 {
		t.Errorf("%d messages in a wiped store", n)
	}
}
