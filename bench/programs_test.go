package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// repository is one with two commits, of which the second changes a file.
func repository(t *testing.T) (root, first string) {
	t.Helper()
	root = t.TempDir()
	commit := func(content string) {
		write(t, filepath.Join(root, "chassis", "main.go"), content)
		for _, args := range [][]string{
			{"add", "."},
			{"-c", "user.name=bench", "-c", "user.email=bench@example.org", "-c", "commit.gpgsign=false", "commit", "-qm", "change"},
		} {
			if _, err := git(t.Context(), root, args...); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := git(t.Context(), root, "init", "-q"); err != nil {
		t.Fatal(err)
	}
	commit("type ground struct { GCPercent int `env:\"GC_PERCENT\" envDefault:\"250\"` }")
	first, err := git(t.Context(), root, "rev-parse", "--short", "HEAD")
	if err != nil {
		t.Fatal(err)
	}
	commit("package chassis")
	return root, first
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestOpenVersions(t *testing.T) {
	t.Parallel()
	root, first := repository(t)
	versions, err := openVersions(t.Context(), config{Root: root, From: "HEAD~1"}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ours, older := versions[0], versions[1]
	if ours.title() != "this tree" || ours.root != root || ours.gcPercent != 100 {
		t.Errorf("ours are %+v", ours)
	}
	if older.title() != "commit "+first || older.gcPercent != 250 {
		t.Errorf("the earlier commit's are %+v", older)
	}
	if left, err := git(t.Context(), root, "status", "--porcelain"); err != nil || left != "" {
		t.Errorf("the repository has been touched: %s, %v", left, err)
	}
	_, err = openVersions(t.Context(), config{Root: root, From: "no-such-commit"}, t.TempDir())
	if err == nil || !strings.Contains(err.Error(), `finding the commit "no-such-commit"`) {
		t.Errorf("without such a commit: %v", err)
	}
}

// TestGCPercentOfThisTree: were the setting renamed, Go's own would be measured and
// nobody would see.
func TestGCPercentOfThisTree(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(filepath.Join("..", "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, documented, _ := strings.Cut(string(content), "| `GC_PERCENT` | `")
	documented, _, _ = strings.Cut(documented, "`")
	percent, err := gcPercent(filepath.Join("..", "chassis"))
	if err != nil || digits(float64(percent)) != documented {
		t.Errorf("%d, %v; documented is %q", percent, err, documented)
	}
}

func TestEnvironHasNothingByChance(t *testing.T) {
	t.Setenv("MESSAGING_GC_PERCENT", "1")
	t.Setenv("GOGC", "1")
	got := strings.Join(environ("TAXONOMY_MIGRATE=true"), "\n")
	if strings.Contains(got, "GC") || !strings.Contains(got, "PATH=") || !strings.HasSuffix(got, "TAXONOMY_MIGRATE=true") {
		t.Error(got)
	}
}

// spendthrift is a benchmark whose set-up takes far more than what it measures.
const spendthrift = `package spend

import (
	"runtime/debug"
	"testing"
	"time"
)

func burn(d time.Duration) {
	for until := time.Now().Add(d); time.Now().Before(until); {
	}
}

func BenchmarkSpend(b *testing.B) {
	burn(300 * time.Millisecond)
	b.ResetTimer()
	for range b.N {
		burn(100 * time.Microsecond)
	}
	percent := debug.SetGCPercent(100)
	debug.SetGCPercent(percent)
	b.ReportMetric(float64(percent), "gogc")
}
`

// TestSetUpIsTakenOff: 0.6 s of set-up are no part of what 100 operations
// cost, and the process collects garbage as the services do.
func TestSetUpIsTakenOff(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write(t, filepath.Join(root, "services", "spend", "go.mod"), "module spend\n\ngo 1.26\n")
	write(t, filepath.Join(root, "services", "spend", "spend_test.go"), spendthrift)
	write(t, filepath.Join(root, "chassis", "chassis.go"), "GCPercent int `env:\"GC_PERCENT\" envDefault:\"321\"`")
	p, err := openPrograms(root, t.TempDir(), "", false)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{cfg: config{Rounds: 1}, size: short, setUps: make(map[string]spending)}
	m, err := r.goBench(t.Context(), p, benchmark{service: "spend", name: "BenchmarkSpend", count: 1002, who: "spend"})
	if err != nil {
		t.Fatal(err)
	}
	// 600 µs would be added by the set-ups. The loop ends by the clock: where others
	// use the processors, an operation takes less than its 100 µs, never more.
	if len(m.costs) != 1 || m.costs[0].who != "spend" || m.costs[0].micros > 350 {
		t.Errorf("an operation costs %+v", m.costs)
	}
	if m.figures["gogc"] != 321 {
		t.Errorf("the process runs with GOGC=%v", m.figures["gogc"])
	}
}

// TestProfileBuilds: the source that is added to programs is compiled only when
// profiles are asked for.
func TestProfileBuilds(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write(t, filepath.Join(root, "services", "idle", "go.mod"), "module idle\n\ngo 1.26\n")
	write(t, filepath.Join(root, "services", "idle", "cmd", "idle", "main.go"), "package main\n\nimport \"os\"\n\nfunc main() { os.Stdin.Read(make([]byte, 1)) }\n")
	write(t, filepath.Join(root, "chassis", "chassis.go"), "package chassis")
	p, err := openPrograms(root, t.TempDir(), "", true)
	if err != nil {
		t.Fatal(err)
	}
	path, err := p.program(t.Context(), "idle")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	c := &child{name: "idle", cmd: cmd, profile: filepath.Join(t.TempDir(), "idle.cpu")}
	cmd.Env = append(os.Environ(), "BENCH_CPU_FILE="+c.profile)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for range time.Tick(10 * time.Millisecond) { // until the child has begun
		if _, err := os.Stat(c.profile + ".part"); err == nil {
			break
		}
	}
	if err := c.endProfile(t.Context()); err != nil {
		t.Error(err)
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(c.profile); err != nil || info.Size() == 0 {
		t.Errorf("the profile: %v, %v", info, err)
	}
}
