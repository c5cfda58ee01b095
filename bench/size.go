package main

import "time"

// size is how much of everything a run measures.
type size struct {
	rounds int
	// settle is how long a measurement waits for an idle machine.
	settle time.Duration
	// pgbench says how long it measures: seconds, of which the second half counts, or
	// transactions of each client where seconds may not be enough to begin. Each
	// number of clients is tried, and the better counts.
	pgbench []string
	clients []int
	// warmUp comes before the measured time of submissions through the gateway.
	warmUp, submit time.Duration
	// stored are the submissions of the store alone.
	stored int
	// latency are the events whose delay is measured, at 500 a second.
	latency int
	// backlog is how many events a drained outbox holds.
	backlog int
	// sends are made by each client of a provider; shipped by sendgrid-go, which
	// opens a connection for most.
	sends, shipped int
	// notifications wait at the broker.
	notifications int
}

var full = size{
	rounds: 3, settle: 10 * time.Second,
	pgbench: []string{"-T", "6", "-P", "1"}, clients: []int{32, 64},
	warmUp: time.Second, submit: 5 * time.Second,
	stored: 60_000, latency: 3000, backlog: 50_000, sends: 30_000, shipped: 3000, notifications: 20_000,
}

// short is for seconds in all, on two busy processors: its figures show only that
// there are some.
var short = size{
	rounds: 1, settle: 0,
	pgbench: []string{"-t", "100"}, clients: []int{8},
	warmUp: 250 * time.Millisecond, submit: time.Second,
	stored: 4000, latency: 250, backlog: 5000, sends: 3000, shipped: 300, notifications: 2000,
}
