// Package cpu measures the processor time that processes and their children use.
package cpu

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

// Part is processor time and who spent it. Unlike a rate, what an operation costs
// hardly depends on what else the machine does.
type Part struct {
	Who  string
	Time time.Duration
}

// Spending is what several have spent.
type Spending []Part

// Since returns what was spent after an earlier reading; below zero, which ticks
// make possible, counts as nothing. Who is new has spent it all since.
func (s Spending) Since(before Spending) Spending {
	spent := make(Spending, len(s))
	for i, now := range s {
		spent[i] = now
		for _, was := range before {
			if was.Who == now.Who {
				spent[i].Time = max(0, now.Time-was.Time)
			}
		}
	}
	return spent
}

// And adds what others, or the same, have spent beside.
func (s Spending) And(more Spending) Spending {
	sum := append(Spending(nil), s...)
	for _, m := range more {
		known := false
		for i := range sum {
			if sum[i].Who == m.Who {
				sum[i].Time += m.Time
				known = true
			}
		}
		if !known {
			sum = append(sum, m)
		}
	}
	return sum
}

// Cost is what one operation took of one part, in microseconds.
type Cost struct {
	Who    string
	Micros float64
}

// Each shares the time among so many operations.
func (s Spending) Each(operations int) []Cost {
	list := make([]Cost, len(s))
	for i, p := range s {
		list[i] = Cost{p.Who, p.Time.Seconds() * 1e6 / float64(max(operations, 1))}
	}
	return list
}

// Meter reads what somebody has spent so far.
type Meter struct {
	who  string
	read func() (time.Duration, error)
}

// Meters are read together.
type Meters []Meter

// Read returns what each has spent so far.
func (m Meters) Read() (Spending, error) {
	all := make(Spending, len(m))
	for i, one := range m {
		spent, err := one.read()
		if err != nil {
			return nil, fmt.Errorf("reading the processor time of %s: %w", one.who, err)
		}
		all[i] = Part{one.who, spent}
	}
	return all, nil
}

// Around returns what is spent while something is done.
func (m Meters) Around(do func() error) (Spending, error) {
	before, err := m.Read()
	if err != nil {
		return nil, err
	}
	if err := do(); err != nil {
		return nil, err
	}
	after, err := m.Read()
	return after.Since(before), err
}

// Ourselves is this process, with whatever of a side runs in it.
func Ourselves(who string) Meter { return Meter{who, selfTime} }

// Process is a child that runs.
func Process(who string, pid int) Meter {
	return Meter{who, func() (time.Duration, error) {
		own, _, err := processTime(pid)
		return own, err
	}}
}

// Cluster is a PostgreSQL server by its folder, with all of its sessions: ended ones have
// left what they used with their parent.
func Cluster(who, dir string) Meter {
	return Meter{who, func() (time.Duration, error) { return clusterTime(dir) }}
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

// Ended is what a child has used that has ended.
func Ended(cmd *exec.Cmd) time.Duration {
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
