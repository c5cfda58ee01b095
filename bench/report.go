package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/ma-messagerie/messagerie/chassis/localpg"
)

const head = `# Benchmarks

Written by ` + "`make bench`" + `; do not edit. Ratios are what these figures are for: each
row measures both sides on the same machine, in turn, and compares medians.
Absolute rates say nothing about another machine, and little about this one; what an
operation takes in processor time moves far less with what else the machine does.

`

const tail = `
## What the columns mean

- **ours**, **reference**: the figure named by the unit.
- **µs each**: microseconds of processor time (user and system) that one operation took,
  by process, beside that side's figure. It is measured from outside, for every version
  and reference alike: from /proc for what runs on, from what a process had used when it
  ended, and for PostgreSQL over the server with all of its sessions. What runs in one
  process is told together (a Go benchmark is also its own load, and often the broker
  or the provider). What is spent before and after the measured time is taken off, by a
  run with two operations (pgbench: one of each session).
- **ratio**: ours to the reference's figure. **ratio of µs**: the same for µs each, of
  all processes but those that only make the load (pgbench; load and broker).
- **goal**: the ratio, or without a reference our figure, to reach or not to exceed.
- **commit …** as a reference is an earlier version of this repository, measured in
  the same rounds (FROM=). A dash is what it cannot run.

## What the rows mean

- **Store alone**: 64 callers submit as the service does inside (reference number,
  derived key, sealed text, event), and each waits for its commit. The references are
  pgbench over the same unix socket, with prepared statements, the better of 32 and
  64 clients, writing the same rows to the same tables: as one transaction of four
  inserts, or as one statement. Their texts are constants: they encrypt nothing. The
  second half of six seconds counts: a session's first transaction takes 60 ms of
  processor time, which 64 sessions take seconds for.
- **Through the gateway**: the gateway, messaging and taxonomy are their own programs
  with their default settings, with tokens of 512 members verified, requests validated,
  and every event relayed to a broker that fsyncs; rates per caller and the access log
  are off. pgbench has none of that work, and no relay beside it.
- **Insert to consumer**: 500 events a second, from just before the insert to a
  JetStream consumer. Ours is a whole submission into four tables; the references
  insert the event alone. The broker fsyncs before it acknowledges.
- **Backlog relayed**: events that wait in the outbox, until the broker has all.
  River and watermill-sql are tuned (River: 1000 workers, or 100 for latency, fetch
  cooldown 2 ms, poll 20 ms; watermill-sql: its queue schema that deletes, batches
  of 500, poll 10 ms) and publish one event at a time, as they are made to.
- **Provider client**: posts of an acknowledgement over TLS and HTTP/1.1 to a server
  in the same process that accepts everything.
- **Notifications**: from events that wait at the broker to outcomes in the ledger,
  by the whole service, one e-mail each.

PostgreSQL has fsync on, 512 MB of shared buffers, and is the same for all sides. Every
Go process collects garbage at the default of the services' GC_PERCENT, that of an earlier
commit at its own. Client, server and load share the processors.

## How to run

    make bench                  # all rows, and this file
    make bench FROM=HEAD~1      # that commit's programs as well, in turn with ours
    make bench SHORT=1          # a little of everything in a minute, printed alone
    BENCH_ROWS=1,2 make bench   # some rows, printed alone
    BENCH_ROUNDS=1 BENCH_PROFILE=/tmp/profiles BENCH_ROWS=2 make bench

The short form shows that every row runs, as CI has it: one round, too few operations
for figures that mean anything, no wait for a quiet machine and no goals. The last line
writes CPU profiles of the services and of the Go benchmarks; the services' programs are
then built with a file more, which starts the profile.

FROM takes whatever git finds a commit by. Its sources are unpacked into a temporary
folder, its services and benchmarks built there and run with the settings, load,
database server and broker that ours get; databases are made by its own migrations.
The Go benchmarks are each commit's own.

It takes Linux, PostgreSQL's server binaries and pgbench; as root on a Debian they are
installed when missing. A quiet machine is waited for, for ten seconds before each
measurement.
`

// report is the document.
func (r *rig) report(done []row) string {
	var out strings.Builder
	out.WriteString(head)
	fmt.Fprintf(&out, "%s; %d processors (%s), %s, %s, %s; %d rounds.\n", time.Now().Format(time.DateOnly), runtime.NumCPU(), processor(),
		runtime.Version(), serverVersion(), strings.Join(versions(), ", "), r.cfg.Rounds)
	if len(r.loads) > 0 {
		fmt.Fprintf(&out, "Load average before the measurements: %s; the machine was busy before %d of %d.\n", sample(r.loads), r.busy, len(r.loads))
	}
	out.WriteString("Cells are median [smallest..greatest].\n\n" + table(done))
	if missed := misses(done); len(missed) > 0 {
		fmt.Fprintf(&out, "\n## Goals missed\n\n%s\n", strings.Join(missed, "\n"))
	}
	return out.String() + tail
}

func misses(done []row) []string {
	var lines []string
	for _, row := range done {
		if row.goal == 0 || row.met() {
			continue
		}
		against, figure := "", row.sample(row.ours).String()+" "+row.unit()
		if row.reference != nil {
			against, figure = " against "+row.against(), row.rateRatio()
		}
		lines = append(lines, fmt.Sprintf("- %s%s: %s; the goal is %s.", row.what, against, figure, row.aim()))
	}
	return lines
}

// processor is the model's name, where the system tells.
func processor() string {
	file, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func serverVersion() string {
	bin, err := localpg.Find()
	if err != nil {
		return "PostgreSQL"
	}
	out, err := exec.Command(filepath.Join(bin, "postgres"), "--version").Output() //nolint:noctx,gosec // at once; a folder of the system
	if err != nil {
		return "PostgreSQL"
	}
	fields := strings.Fields(string(out)) // postgres (PostgreSQL) 15.18 …
	return "PostgreSQL " + fields[min(2, len(fields)-1)]
}

// versions are those of what is compared.
func versions() []string {
	compared := map[string]string{
		"github.com/riverqueue/river": "River", "github.com/ThreeDotsLabs/watermill-sql/v4": "watermill-sql",
		"github.com/nats-io/nats-server/v2": "nats-server", "github.com/sendgrid/sendgrid-go": "sendgrid-go",
	}
	var list []string
	info, _ := debug.ReadBuildInfo()
	for _, dep := range info.Deps {
		if name := compared[dep.Path]; name != "" {
			list = append(list, name+" "+strings.TrimSuffix(dep.Version, "+incompatible"))
		}
	}
	slices.Sort(list)
	return list
}
