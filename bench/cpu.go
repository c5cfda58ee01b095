package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ticks of /proc are hundredths of a second on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// Names of parts. What only makes the load is shown, and no part of a ratio.
const (
	inPostgres = "PostgreSQL"
	inLoad     = "load and broker"
	inPgbench  = "pgbench"
)

var makesLoad = map[string]bool{inLoad: true, inPgbench: true}

// part is processor time and who spent it. Unlike a rate, what an operation costs
// hardly depends on what else the machine does.
type part struct {
	who  string
	time time.Duration
}

type spending []part

// since returns what was spent after an earlier reading; below zero, which ticks
// make possible, counts as nothing. Who is new has spent it all since.
func (s spending) since(before spending) spending {
	spent := make(spending, len(s))
	for i, now := range s {
		spent[i] = now
		for _, was := range before {
			if was.who == now.who {
				spent[i].time = max(0, now.time-was.time)
			}
		}
	}
	return spent
}

// and adds what others, or the same, have spent beside.
func (s spending) and(more spending) spending {
	sum := append(spending(nil), s...)
	for _, m := range more {
		known := false
		for i := range sum {
			if sum[i].who == m.who {
				sum[i].time += m.time
				known = true
			}
		}
		if !known {
			sum = append(sum, m)
		}
	}
	return sum
}

// cost is what one operation took of one part, in microseconds.
type cost struct {
	who    string
	micros float64
}

// each shares the time among so many operations.
func (s spending) each(operations int) []cost {
	list := make([]cost, len(s))
	for i, p := range s {
		list[i] = cost{p.who, p.time.Seconds() * 1e6 / float64(max(operations, 1))}
	}
	return list
}

// meter reads what somebody has spent so far.
type meter struct {
	who  string
	read func() (time.Duration, error)
}

type meters []meter

func (m meters) read() (spending, error) {
	all := make(spending, len(m))
	for i, one := range m {
		spent, err := one.read()
		if err != nil {
			return nil, fmt.Errorf("reading the processor time of %s: %w", one.who, err)
		}
		all[i] = part{one.who, spent}
	}
	return all, nil
}

// around returns what is spent while something is done.
func (m meters) around(do func() error) (spending, error) {
	before, err := m.read()
	if err != nil {
		return nil, err
	}
	if err := do(); err != nil {
		return nil, err
	}
	after, err := m.read()
	return after.since(before), err
}

// ourselves is this process, with whatever of a side runs in it.
func ourselves(who string) meter { return meter{who, selfTime} }

// process is a child that runs.
func process(who string, pid int) meter {
	return meter{who, func() (time.Duration, error) {
		own, _, err := processTime(pid)
		return own, err
	}}
}

// postgres is the server with all of its sessions: ended ones have left what they
// used with their parent.
func (r *rig) postgres() meter {
	return meter{inPostgres, func() (time.Duration, error) { return clusterTime(r.cluster.Dir()) }}
}

func clusterTime(dir string) (time.Duration, error) {
	content, err := os.ReadFile(filepath.Join(dir, "data", "postmaster.pid"))
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(content), "\n")
	postmaster, err := strconv.Atoi(line)
	if err != nil {
		return 0, fmt.Errorf("reading postmaster.pid: %w", err)
	}
	return familyTime(postmaster)
}

// familyTime is what a process and its children have used, those that have ended
// included. A child that ends between being read and its parent's account of it
// would count twice, or not at all: it is read again then.
func familyTime(parent int) (time.Duration, error) {
	const attempts = 20
	var total time.Duration
	for range attempts {
		_, before, err := processTime(parent)
		if err != nil {
			return 0, err
		}
		living, err := livingTime(parent)
		if err != nil {
			return 0, err
		}
		own, after, err := processTime(parent)
		if err != nil {
			return 0, err
		}
		if total = own + after + living; before == after {
			break
		}
	}
	return total, nil
}

// livingTime is what the children that run have used.
func livingTime(parent int) (time.Duration, error) {
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", parent, parent))
	if err != nil {
		return 0, err
	}
	var total time.Duration
	for _, field := range strings.Fields(string(children)) {
		child, err := strconv.Atoi(field)
		if err != nil {
			return 0, err
		}
		spent, _, err := processTime(child)
		if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ESRCH) { // it has ended
			return 0, err
		}
		total += spent
	}
	return total, nil
}

// selfTime is more exact than /proc.
func selfTime() (time.Duration, error) {
	var usage syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), err
}

// endedTime is what a child has used that has ended.
func endedTime(cmd *exec.Cmd) time.Duration {
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

// processTime is user and system time of a process, and of those of its children
// that have ended.
func processTime(pid int) (own, ended time.Duration, err error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	return parseStat(string(content))
}

// parseStat reads /proc/PID/stat: utime, stime, cutime and cstime are the fields
// 14 to 17 (proc(5)). The second, the name in parentheses, may hold anything, also
// spaces and parentheses.
func parseStat(content string) (own, ended time.Duration, err error) {
	at := strings.LastIndexByte(content, ')')
	fields := strings.Fields(content[at+1:])
	const first = 14 - 3
	if at < 0 || len(fields) < first+4 {
		return 0, 0, fmt.Errorf("no processor times in %q", content)
	}
	var times [4]time.Duration
	for i := range times {
		ticks, err := strconv.ParseInt(fields[first+i], 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("reading %q: %w", content, err)
		}
		times[i] = time.Duration(ticks) * tick
	}
	return times[0] + times[1], times[2] + times[3], nil
}
