package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/ma-messagerie/messagerie/bench/internal/build"
	"github.com/ma-messagerie/messagerie/bench/internal/cpu"
)

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
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
	p, err := build.One(root, t.TempDir(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{cfg: config{Rounds: 1}, size: short, setUps: make(map[string]cpu.Spending)}
	m, err := r.goBench(t.Context(), p, benchmark{service: "spend", name: "BenchmarkSpend", count: 1002, who: "spend"})
	if err != nil {
		t.Fatal(err)
	}
	// 600 µs would be added by the set-ups. The loop ends by the clock: where others
	// use the processors, an operation takes less than its 100 µs, never more.
	if len(m.costs) != 1 || m.costs[0].Who != "spend" || m.costs[0].Micros > 350 {
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
	p, err := build.One(root, t.TempDir(), "", profileSource)
	if err != nil {
		t.Fatal(err)
	}
	path, err := p.Program(t.Context(), "idle")
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
