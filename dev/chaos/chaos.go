// Package chaos breaks the system on purpose and counts what it lost, forgot or
// did twice.
//
// It runs the real programs as child processes: two gateways, two messaging
// services, two notifiers, a taxonomy, a broker, a PostgreSQL that flushes its
// disk, and the stand-in for the providers, which has on disk what it accepted
// before it says so. Between any two of them is a proxy (toxiproxy) that can slow,
// cut and silence the connection. Members write at a steady rate, as front ends
// do: each submission has a key and is tried again with it until it is answered.
// Agents answer some.
//
// Meanwhile faults are drawn from a seed: kill -9 and restart of any process, stops
// longer than a lease, links cut and slowed, providers that throttle, fail, hang,
// and accept and then hang; reports that come late, thrice, or forged; the broker's
// store deleted, rolled back to an old copy, cut short. Then all is healed, the
// system gets time to finish, and the checker compares four independent accounts:
// what clients were told, what PostgreSQL holds, what the providers accepted, and
// what the notifier believes.
//
// # What is promised
//
// A run that ends without a violation has lost no acknowledged submission, has
// notified everything that was committed, and nothing twice beyond what is said
// to be possible. The same seed draws the same faults at the same times; what they
// hit depends on the machine.
//
// # When it breaks
//
// It cannot lose power: a page that the kernel has and the disk has not survives
// here. And it proves only that these faults, in this order, did no harm: whether
// it would have noticed is shown by the seeded bugs (package chassis/seeded), each
// of which it must catch.
package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Config is read from CHAOS_*.
type Config struct {
	// Scenario is random, broker-outage, postgres, same-keys, rolling, upgrade, seeded.
	Scenario string `env:"SCENARIO" envDefault:"random"`
	// Seed draws the faults; 0 takes one from the clock. It is printed.
	Seed uint64 `env:"SEED" envDefault:"0"`
	// Minutes is how long faults go on.
	Minutes float64 `env:"MINUTES" envDefault:"10"`
	// Rate is how many submissions a second are begun.
	Rate int `env:"RATE" envDefault:"250"`
	// Dir is where logs and state are kept; empty: a temporary folder, kept only
	// after a violation.
	Dir string `env:"DIR"`
	// Race builds the programs with the race detector.
	Race bool `env:"RACE" envDefault:"false"`
	// From is the commit that the scenario upgrade starts from; empty: the one before
	// the working tree.
	From string `env:"FROM"`
	// Bugs narrows the scenario seeded to these (comma-separated).
	Bugs []string `env:"BUGS"`
}

// Validate reports all faults at once.
func (c Config) Validate() error {
	var faults []error
	if _, ok := scenarios[c.Scenario]; !ok {
		faults = append(faults, fmt.Errorf("SCENARIO %q is none of random, broker-outage, postgres, same-keys, rolling, upgrade, seeded", c.Scenario))
	}
	if c.Minutes <= 0 {
		faults = append(faults, errors.New("MINUTES must be more than 0"))
	}
	if c.Rate < 1 {
		faults = append(faults, errors.New("RATE must be at least 1"))
	}
	return errors.Join(faults...)
}

// ErrViolated is the end of a run in which a promise was broken.
var ErrViolated = errors.New("a promise was broken")

// scenarios are the runs there are.
var scenarios = map[string]func(*run, context.Context) error{}

func init() { //nolint:gochecknoinits // the scenarios refer to the map's users
	scenarios["random"] = (*run).random
	scenarios["broker-outage"] = (*run).brokerOutage
	scenarios["postgres"] = (*run).postgresKills
	scenarios["same-keys"] = (*run).sameKeys
	scenarios["rolling"] = (*run).rolling
	scenarios["upgrade"] = (*run).upgrade
	scenarios["seeded"] = (*run).seeded
}

// run is one run of a scenario.
type run struct {
	cfg Config
	out io.Writer
	// binaries are built once.
	binaries string
}
