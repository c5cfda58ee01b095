package cpu

import (
	"os"
	"os/exec"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		what, stat string
		own, ended time.Duration
		fails      bool
	}{
		{
			what: "fields 14 to 17",
			stat: "41 (gateway) S 1 41 41 0 -1 4194304 1 2 3 4 250 50 7 3 20 0 9 0 100 1000 200 18446744073709551615\n",
			own:  3 * time.Second, ended: 100 * time.Millisecond,
		},
		{
			what: "a name with spaces and parentheses",
			stat: "41 (postgres: a) (b 7) R 1 41 41 0 -1 4194304 1 2 3 4 1 2 0 0 20 0 9 0 100\n",
			own:  30 * time.Millisecond,
		},
		{what: "nothing", stat: "", fails: true},
		{what: "cut short", stat: "41 (gateway) S 1 41 41 0 -1 4194304 1 2 3 4 250 50 7", fails: true},
		{what: "no number", stat: "41 (gateway) S 1 41 41 0 -1 4194304 1 2 3 4 x 50 7 3 20", fails: true},
	} {
		own, ended, err := parseStat(tt.stat)
		if own != tt.own || ended != tt.ended || (err != nil) != tt.fails {
			t.Errorf("%s: %s, %s, %v; want %s, %s", tt.what, own, ended, err, tt.own, tt.ended)
		}
	}
}

func TestSpending(t *testing.T) {
	t.Parallel()
	before := Spending{{"postgres", 3 * time.Second}, {"gateway", time.Second}}
	spent := Spending{{"gateway", 3 * time.Second}, {"postgres", 2 * time.Second}, {"broker", time.Second}}.Since(before)
	want := []Cost{{"gateway", 2000}, {"postgres", 0}, {"broker", 1000}}
	for i, got := range spent.Each(1000) {
		if got != want[i] {
			t.Errorf("part %d costs %+v, want %+v", i, got, want[i])
		}
	}
	sum := before.And(Spending{{"gateway", time.Second}, {"broker", time.Second}})
	if len(sum) != 3 || sum[1].Time != 2*time.Second || sum[2].Time != time.Second || before[1].Time != time.Second {
		t.Errorf("sum is %v, of %v", sum, before)
	}
	if got := (Spending{{"nobody", time.Second}}).Each(0)[0].Micros; got != 1e6 {
		t.Errorf("of no operation: %v", got)
	}
}

// burn is a shell that has a child use processor time, and then is idle.
const burn = `(i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done); echo done; read ignored; true`

// TestFamilyTime: the time of children counts when they have ended as well.
func TestFamilyTime(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", burn)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	family, err := familyTime(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	alone, err := Process("sh", cmd.Process.Pid).read()
	if err != nil {
		t.Fatal(err)
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	// The account in /proc is cut to ticks, for each of its four parts.
	if all := Ended(cmd); family < 2*tick || family > all+tick || family < all-8*tick || alone > family/2 {
		t.Errorf("family %s, of it the shell %s; in the end it was %s", family, alone, all)
	}
	if _, err := familyTime(cmd.Process.Pid); err == nil {
		t.Error("a Process that has ended has an account")
	}
}

func TestSelfTimeGrows(t *testing.T) {
	t.Parallel()
	spent, err := Meters{Ourselves("test"), Process("same", os.Getpid())}.Around(func() error {
		for start, now := must(selfTime()), time.Duration(0); now < start+200*time.Millisecond; now = must(selfTime()) {
			continue
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if spent[0].Time < 200*time.Millisecond || spent[1].Time < 200*time.Millisecond-4*tick {
		t.Errorf("by rusage %s, by /proc %s", spent[0].Time, spent[1].Time)
	}
}

func must(d time.Duration, err error) time.Duration {
	if err != nil {
		panic(err)
	}
	return d
}
