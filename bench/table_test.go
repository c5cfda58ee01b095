package main

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/ma-messagerie/messagerie/bench/internal/cpu"
)

// sideOf has the figures of several rounds.
func sideOf(title string, rounds ...measurement) *side {
	s := &side{title: title}
	for _, m := range rounds {
		s.add(m)
	}
	return s
}

func measured(rate float64, parts ...cpu.Cost) measurement {
	return measurement{map[string]float64{submissions: rate}, parts}
}

func TestSample(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		sample sample
		median float64
		text   string
	}{
		{nil, 0, "–"},
		{sample{7}, 7, "7.00"},
		{sample{9, 1, 2}, 2, "2.00 [1.00..9.00]"},
		{sample{400, 12_345}, 6372.5, "6372 [400..12.3 k]"},
	} {
		if got := tt.sample.median(); got != tt.median {
			t.Errorf("median of %v is %v, want %v", []float64(tt.sample), got, tt.median)
		}
		if got := tt.sample.String(); got != tt.text {
			t.Errorf("%v is written %q, want %q", []float64(tt.sample), got, tt.text)
		}
	}
}

func TestCells(t *testing.T) {
	t.Parallel()
	ours := sideOf("this tree",
		measured(4000, cpu.Cost{Who: "gateway", Micros: 60}, cpu.Cost{Who: inPostgres, Micros: 50}, cpu.Cost{Who: inLoad, Micros: 70}),
		measured(6000, cpu.Cost{Who: "gateway", Micros: 80}, cpu.Cost{Who: inPostgres, Micros: 50}, cpu.Cost{Who: inLoad, Micros: 70}),
		measured(5000, cpu.Cost{Who: "gateway", Micros: 70}, cpu.Cost{Who: inPostgres, Micros: 50}, cpu.Cost{Who: inLoad, Micros: 70}))
	other := sideOf("commit 1234567", measured(4000, cpu.Cost{Who: "gateway", Micros: 100}, cpu.Cost{Who: inPostgres, Micros: 50}, cpu.Cost{Who: inLoad, Micros: 900}))
	missing := sideOf("commit 1234567")
	for _, tt := range []struct {
		what string
		row  row
		want []string
	}{
		{
			"a goal reached",
			row{what: "w", figure: submissions, ours: ours, reference: other, goal: 1.2},
			[]string{
				"w", "submissions/s", "5000 [4000..6000]", "gateway: 70.0 [60.0..80.0]; PostgreSQL: 50.0 [50.0..50.0]; load and broker: 70.0 [70.0..70.0]",
				"commit 1234567", "4000", "gateway: 100; PostgreSQL: 50.0; load and broker: 900", "1.25 ×", "0.80 ×", "≥ 1.20 ×", "met",
			},
		},
		{
			"a goal missed",
			row{what: "w", figure: submissions, ours: other, reference: ours, goal: 1.2},
			[]string{"w", "submissions/s", "4000", "", "this tree", "", "", "0.80 ×", "1.25 ×", "≥ 1.20 ×", "MISSED"},
		},
		{
			"at most, without a reference",
			row{what: "w", figure: submissions, ours: other, goal: 5000, atMost: true},
			[]string{"w", "submissions/s", "4000", "", "–", "–", "–", "–", "–", "≤ 5000", "met"},
		},
		{
			"what an earlier commit cannot run",
			row{what: "w", figure: submissions, ours: other, reference: missing},
			[]string{"w", "submissions/s", "4000", "", "commit 1234567", "–", "–", "–", "–", "–", "–"},
		},
		{
			"no costs beside a percentile",
			row{what: "w", figure: p99, ours: other, reference: ours},
			[]string{"w", "ms", "–", "–", "this tree", "–", "–", "–", "–", "–", "–"},
		},
	} {
		got := tt.row.cells()
		if len(got) != len(tt.want) {
			t.Fatalf("%s: %d cells: %q", tt.what, len(got), got)
		}
		for i, want := range tt.want {
			if want != "" && got[i] != want {
				t.Errorf("%s: cell %d is %q, want %q", tt.what, i, got[i], want)
			}
		}
	}
}

func TestTableIsARectangle(t *testing.T) {
	t.Parallel()
	other := sideOf("other", measured(1))
	written := table([]row{{what: "w", figure: submissions, ours: other}, {what: "w", figure: submissions, ours: other, reference: other}})
	for line := range strings.Lines(written) {
		if got := strings.Count(line, "|"); got != 12 {
			t.Errorf("%d cells in %s", got-1, line)
		}
	}
}

func TestWithOlder(t *testing.T) {
	t.Parallel()
	ours, older, reference := sideOf("ours"), sideOf("older"), sideOf("reference")
	list := []row{{what: "w", figure: p50}, {what: "w", figure: p99}, {what: "w", figure: p50, reference: reference}}
	if got := withOlder([]*side{ours}, slices.Clone(list)); len(got) != 3 || got[2].ours != ours {
		t.Errorf("alone: %+v", got)
	}
	got := withOlder([]*side{ours, older}, slices.Clone(list))
	if len(got) != 5 || got[3].figure != p50 || got[4].figure != p99 || got[3].reference != older || got[4].ours != ours {
		t.Errorf("with an earlier commit: %+v", got)
	}
}

func TestRoundsAlternate(t *testing.T) {
	t.Parallel()
	var order []string
	made := func(title string) *side {
		return &side{title: title, measure: func() (measurement, error) {
			order = append(order, title)
			return measured(1), nil
		}}
	}
	broken := &side{title: "broken", optional: true, measure: func() (measurement, error) {
		order = append(order, "broken")
		return measurement{}, errors.New("no such benchmark")
	}}
	r := &rig{cfg: config{Rounds: 2}}
	ours := made("ours")
	if err := r.rounds(t.Context(), []*side{made("reference")}, []*side{ours, broken}); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(order, " "); got != "reference ours broken ours reference" {
		t.Errorf("the order is %s", got)
	}
	if len(ours.figures[submissions]) != 2 || broken.failed == nil {
		t.Errorf("ours %v, the broken one %v", ours.figures, broken.failed)
	}
	broken.optional, broken.failed = false, nil
	if err := r.rounds(t.Context(), []*side{broken}); err == nil {
		t.Error("a side that must run has failed without an error")
	}
}

func TestParseFigures(t *testing.T) {
	t.Parallel()
	out := []byte("goos: linux\nBenchmarkOther\t1\t5 ns/op\nBenchmarkStore \t   60000\t     50000 ns/op\t     20000 submissions/s\nPASS\n")
	got, err := parseFigures(out, "BenchmarkStore")
	if err != nil || got[submissions] != 20000 || got["ns/op"] != 50000 {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := parseFigures(out, "BenchmarkDrain"); err == nil {
		t.Error("a benchmark that has not run has figures")
	}
}

func TestParsePgbench(t *testing.T) {
	t.Parallel()
	const account = "number of transactions actually processed: 1500\nlatency average = 1 ms\ntps = 250.5 (without initial connection time)\n"
	for _, tt := range []struct {
		what, out string
		tps       float64
		fails     bool
	}{
		{"without progress", account, 250.5, false},
		{"the second half of the progress", "progress: 1.0 s, 10.0 tps, lat 1 ms\nprogress: 2.0 s, 20.0 tps, lat\nprogress: 3.0 s, 300.0 tps, lat\nprogress: 4.0 s, 500.0 tps, lat\n" + account, 400, false},
		{"a client that gave up", "pgbench: error: client 3 script 0 aborted in command 1\n" + account, 0, true},
		{"none", "pgbench: error: connection failed", 0, true},
	} {
		got, err := parsePgbench(tt.out)
		if got.tps != tt.tps || (err != nil) != tt.fails || err == nil && got.transactions != 1500 {
			t.Errorf("%s: %+v, %v", tt.what, got, err)
		}
	}
}
