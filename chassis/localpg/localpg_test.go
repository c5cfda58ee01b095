package localpg_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/ma-messagerie/messagerie/chassis/localpg"
)

// childDir tells this test binary to start a cluster, say so, and wait to be
// killed.
const childDir = "LOCALPG_TEST_CHILD_DIR"

func TestMain(m *testing.M) {
	if dir, ok := os.LookupEnv(childDir); ok { //nolint:forbidigo // set by a test below
		err := beKilled(context.Background(), dir)
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func beKilled(ctx context.Context, dir string) error {
	cluster, err := localpg.Start(ctx, localpg.Options{Dir: dir, Durable: true})
	if err != nil {
		return err
	}
	if err := write(ctx, cluster, "from the killed process"); err != nil {
		return err
	}
	fmt.Println("ready")
	select {}
}

func requireServer(t *testing.T) {
	t.Helper()
	_, err := localpg.Find()
	if err != nil && os.Getenv("CI") == "" { //nolint:forbidigo // as in testenv
		t.Skip(err)
	}
}

func start(t *testing.T, opts localpg.Options) *localpg.Cluster {
	t.Helper()
	requireServer(t)
	cluster, err := localpg.Start(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, cluster) })
	return cluster
}

func stop(t *testing.T, cluster *localpg.Cluster) {
	t.Helper()
	if err := cluster.Stop(); err != nil {
		t.Error(err)
	}
	if pids := serving(t, cluster.Dir()); len(pids) > 0 {
		t.Errorf("processes %v are left", pids)
	}
}

// serving are the postmasters of a folder.
func serving(t *testing.T, dir string) []string {
	t.Helper()
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var pids []string
	for _, path := range commands {
		command, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(command), "postgres\x00-D\x00"+dir+"/data\x00") {
			pids = append(pids, filepath.Base(filepath.Dir(path)))
		}
	}
	return pids
}

// folder is a new one that user postgres can reach, which those of t.TempDir are
// not when the tests are run with a closed TMPDIR.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "localpg-test-") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "pg")
}

func write(ctx context.Context, cluster *localpg.Cluster, word string) error {
	if err := cluster.CreateDatabase(ctx, "words"); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, cluster.URL("words"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, `CREATE TABLE IF NOT EXISTS word (word text)`)
	if err == nil {
		_, err = conn.Exec(ctx, `INSERT INTO word VALUES ($1)`, word)
	}
	return err
}

func read(t *testing.T, cluster *localpg.Cluster) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), cluster.URL("words"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var words string
	if err := conn.QueryRow(t.Context(), `SELECT string_agg(word, ',') FROM word`).Scan(&words); err != nil {
		t.Fatal(err)
	}
	return words
}

func setting(t *testing.T, cluster *localpg.Cluster, name string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), cluster.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var value string
	if err := conn.QueryRow(t.Context(), `SELECT current_setting($1)`, name).Scan(&value); err != nil {
		t.Fatal(err)
	}
	return value
}

func TestStart_KeepsItsData(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	cluster := start(t, localpg.Options{Dir: dir, Durable: true, Settings: map[string]string{"work_mem": "5MB"}})
	if cluster.Dir() != dir {
		t.Errorf("placed in %s, want %s", cluster.Dir(), dir)
	}
	for name, want := range map[string]string{"fsync": "on", "work_mem": "5MB", "listen_addresses": "", "TimeZone": "UTC", "server_encoding": "UTF8"} {
		if got := setting(t, cluster, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder is open: %v %v", info.Mode(), err)
	}
	if err := write(t.Context(), cluster, "kept"); err != nil {
		t.Fatal(err)
	}
	stop(t, cluster)
	stop(t, cluster) // a second time does nothing
	if got := read(t, start(t, localpg.Options{Dir: dir})); got != "kept" {
		t.Errorf("read %q", got)
	}
}

func TestStart_AfterACrash(t *testing.T) {
	t.Parallel()
	opts := localpg.Options{Dir: folder(t), Durable: true}
	cluster := start(t, opts)
	if err := write(t.Context(), cluster, "committed"); err != nil {
		t.Fatal(err)
	}
	if err := cluster.Kill(); err != nil {
		t.Fatal(err)
	}
	if got := read(t, start(t, opts)); got != "committed" {
		t.Errorf("read %q", got)
	}
}

func TestStart_AfterTheParentWasKilled(t *testing.T) {
	t.Parallel()
	opts := localpg.Options{Dir: folder(t), Durable: true}
	requireServer(t)
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), childDir+"="+opts.Dir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the child says %q, %v", line, err)
	}
	before := serving(t, opts.Dir)
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // killed, of course
	cluster := start(t, opts)
	if got := read(t, cluster); got != "from the killed process" {
		t.Errorf("read %q", got)
	}
	if after := serving(t, opts.Dir); len(before) != 1 || len(after) != 1 || before[0] == after[0] {
		t.Errorf("postmasters %v before, %v after", before, after)
	}
}

// A process id is given out again: the lock file of a machine that lost power
// may name a program that has nothing to do with it.
func TestStart_StaleLock(t *testing.T) {
	t.Parallel()
	opts := localpg.Options{Dir: folder(t)}
	cluster := start(t, opts)
	if err := write(t.Context(), cluster, "kept"); err != nil {
		t.Fatal(err)
	}
	lock := filepath.Join(cluster.Dir(), "data", "postmaster.pid")
	content, err := os.ReadFile(lock)
	if err != nil {
		t.Fatal(err)
	}
	stop(t, cluster)
	other := exec.CommandContext(t.Context(), "sleep", "600")
	other.Dir = "/"
	other.SysProcAttr = &syscall.SysProcAttr{Credential: serverCredential(t)}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Process.Kill(); _ = other.Wait() })
	_, rest, _ := strings.Cut(string(content), "\n")
	if err := os.WriteFile(lock, fmt.Appendf(nil, "%d\n%s", other.Process.Pid, rest), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := read(t, start(t, opts)); got != "kept" {
		t.Errorf("read %q", got)
	}
}

// serverCredential is nil unless we are root.
func serverCredential(t *testing.T) *syscall.Credential {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		t.Fatal(err)
	}
	uid, err1 := strconv.ParseUint(account.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(account.Gid, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// One cut short leaves a folder that must not be taken for a cluster.
func TestStart_AfterInitialisationWasCutShort(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	if err := os.MkdirAll(filepath.Join(dir, "data.new", "base"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "data.new", "PG_VERSION"), []byte("15\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := setting(t, start(t, localpg.Options{Dir: dir}), "fsync"); got != "off" {
		t.Errorf("fsync is %q", got)
	}
}

func TestStart_Elsewhere(t *testing.T) {
	t.Parallel()
	closed := filepath.Join(folder(t), "closed")
	if err := os.MkdirAll(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name, dir string
		moved     bool
	}{
		// 88 bytes of folder and 19 of name make 107.
		{"longest path", padded(folder(t), 88), false},
		{"path too long", padded(folder(t), 89), true},
		{"behind a closed folder", filepath.Join(closed, "pg"), os.Geteuid() == 0},
		{"with odd characters", folder(t) + " +&?#%é", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			opts := localpg.Options{Dir: row.dir}
			cluster := start(t, opts)
			if moved := cluster.Dir() != row.dir; moved != row.moved {
				t.Errorf("placed in %s, wanted %s", cluster.Dir(), row.dir)
			}
			if err := write(t.Context(), cluster, "kept"); err != nil {
				t.Fatal(err)
			}
			stop(t, cluster)
			again := start(t, opts)
			if got := read(t, again); got != "kept" || again.Dir() != cluster.Dir() {
				t.Errorf("read %q in %s", got, again.Dir())
			}
			stop(t, again)
			if err := localpg.Erase(t.Context(), row.dir); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(cluster.Dir()); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s is left: %v", cluster.Dir(), err)
			}
		})
	}
}

func padded(dir string, length int) string {
	return dir + strings.Repeat("x", length-len(dir))
}

func TestErase_LeavesWhatIsNotItsOwn(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	stop(t, start(t, localpg.Options{Dir: dir}))
	letter := filepath.Join(dir, "letter.txt")
	if err := os.WriteFile(letter, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := localpg.Erase(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(letter); err != nil {
		t.Error(err)
	}
}

func TestStart_WithoutAFolder(t *testing.T) {
	t.Parallel()
	cluster := start(t, localpg.Options{})
	if err := write(t.Context(), cluster, "a"); err != nil {
		t.Fatal(err)
	}
	stop(t, cluster)
	if _, err := os.Stat(cluster.Dir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is left: %v", cluster.Dir(), err)
	}
}

func TestCreateDatabase_Twice(t *testing.T) {
	t.Parallel()
	cluster := start(t, localpg.Options{})
	for range 2 {
		if err := cluster.CreateDatabase(t.Context(), `a "name"`); err != nil {
			t.Fatal(err)
		}
	}
	conn, err := pgx.Connect(t.Context(), cluster.URL(`a "name"`))
	if err != nil {
		t.Fatal(err)
	}
	conn.Close(t.Context())
}

func TestStart_WrongSettingIsExplained(t *testing.T) {
	t.Parallel()
	requireServer(t)
	begin := time.Now()
	_, err := localpg.Start(t.Context(), localpg.Options{Settings: map[string]string{"shared_buffer": "1MB"}})
	if err == nil || !strings.Contains(err.Error(), "shared_buffer") {
		t.Errorf("got %v", err)
	}
	if took := time.Since(begin); took > 30*time.Second {
		t.Errorf("took %s", took)
	}
}
