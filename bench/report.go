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
Absolute figures say nothing about another machine, and little about this one.

`

const tail = `
## What the rows mean

- **Store alone**: 64 callers submit as the service does inside (reference number,
  data key, sealed text, event), and each waits for its commit. The references are
  pgbench over the same unix socket, with prepared statements, the better of 32 and
  64 clients, writing the same rows to the same tables: as one transaction of four
  inserts, or as one statement. Their texts are constants: they encrypt nothing.
- **Through the gateway**: the gateway, messaging and taxonomy are processes of
  their own, as in production, with tokens verified, requests validated, and every
  event relayed to a broker that fsyncs; rate limits and the access log are off.
  pgbench has none of that work, and no relay beside it.
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

PostgreSQL has fsync on, 512 MB of shared buffers, and is the same for both sides.
Client, server and load share the processors.

## How to run

    make bench                 # all rows, and this file
    BENCH_ROWS=1,2 make bench  # some rows, printed alone
    BENCH_ROUNDS=1 BENCH_PROFILE=/tmp/profiles BENCH_ROWS=2 make bench

The last writes CPU profiles of the services. It takes PostgreSQL's server
binaries and pgbench; as root on a Debian they are installed when missing.
A quiet machine is waited for, for ten seconds before each measurement.
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
		if row.goal != 0 && !row.met() {
			cells := row.cells()
			against, figure := "", cells[2]+" "+row.unit
			if len(row.reference) > 0 {
				against, figure = " against "+row.against, cells[5]
			}
			lines = append(lines, fmt.Sprintf("- %s%s: %s; the goal is %s.", row.what, against, figure, cells[6]))
		}
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
