package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ticks of /proc are hundredths of a second on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// times are processor times by who spent them. Unlike a rate, what a submission
// costs hardly depends on what else the machine does.
type times map[string]time.Duration

// spent reads the processor time that the parts of the system have used so far,
// ours (the load generator and the broker) and PostgreSQL's included. Where there
// is no /proc it is all zero.
func (r *rig) spent(s *system) times {
	all := times{"load generator and broker": processTime(os.Getpid(), false), "postgres": r.postgresTime()}
	for i, name := range startOrder {
		all[name] = processTime(s.children[i].Process.Pid, false)
	}
	return all
}

// postgresTime adds what ended sessions have used, which their parent keeps, and
// what the living have.
func (r *rig) postgresTime() time.Duration {
	content, err := os.ReadFile(filepath.Join(r.cluster.Dir(), "data", "postmaster.pid"))
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(content), "\n")
	postmaster, err := strconv.Atoi(line)
	if err != nil {
		return 0
	}
	total := processTime(postmaster, true)
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", postmaster, postmaster))
	if err != nil {
		return 0
	}
	for _, field := range strings.Fields(string(children)) {
		if child, err := strconv.Atoi(field); err == nil {
			total += processTime(child, false)
		}
	}
	return total
}

// processTime is user and system time, of the children that ended too if asked.
func processTime(pid int, ended bool) time.Duration {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The name in parentheses may hold anything; utime is the 12th field after it.
	_, rest, _ := strings.Cut(string(content), ") ")
	fields := strings.Fields(rest)
	last := 13
	if ended {
		last = 15
	}
	var sum time.Duration
	for _, field := range fields[11:min(last, len(fields))] {
		n, _ := strconv.Atoi(field)
		sum += time.Duration(n) * tick
	}
	return sum
}

// costs writes what each part spent on one submission.
func (r *rig) costs(label string, before, after times, submissions int64) {
	fmt.Fprintf(os.Stderr, "%s, microseconds of processor time per submission:", label)
	for _, name := range []string{"gateway", "messaging", "taxonomy", "postgres", "load generator and broker"} {
		fmt.Fprintf(os.Stderr, " %s %.0f;", name, float64((after[name]-before[name]).Microseconds())/float64(submissions))
	}
	fmt.Fprintln(os.Stderr)
}
