package main

import "github.com/ma-messagerie/messagerie/bench/internal/cpu"

// Names of parts. What only makes the load is shown, and no part of a ratio.
const (
	inPostgres = "PostgreSQL"
	inLoad     = "load and broker"
	inPgbench  = "pgbench"
)

var makesLoad = map[string]bool{inLoad: true, inPgbench: true}

// postgres is the server of this run.
func (r *rig) postgres() cpu.Meter { return cpu.Cluster(inPostgres, r.cluster.Dir()) }
