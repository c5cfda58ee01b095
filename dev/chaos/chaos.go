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
// The scenarios are here, one a file. What they are made of has rooms of its own:
// internal/fleet is the system as processes, internal/load the people, internal/nemesis
// the faults, internal/account the four accounts and the verdict, internal/seeded the bugs.
//
// Two scenarios break nothing and ask something else, of the product as it is shipped:
// neighbour has one caller (internal/attack) make one attack after the other while
// others use it, who must not notice; starts calls as soon as the gateway says that it
// is ready.
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
// it would have noticed is shown by the seeded bugs (internal/seeded), each of
// which it must catch.
package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/ma-messagerie/messagerie/dev/chaos/internal/attack"
	"github.com/ma-messagerie/messagerie/dev/chaos/internal/fleet"
	"github.com/ma-messagerie/messagerie/dev/chaos/internal/seeded"
)

// Config is read from CHAOS_*.
type Config struct {
	// Scenario is random, broker-outage, postgres, failover, frozen, broker-refuses,
	// clock, same-keys, rolling, upgrade, seeded, neighbour, starts.
	Scenario string `env:"SCENARIO" envDefault:"random"`
	// Seed draws the faults; 0 takes one from the clock. It is printed.
	Seed uint64 `env:"SEED" envDefault:"0"`
	// Minutes is how long faults go on. Of the scenario neighbour, an attack takes a
	// fiftieth, and its control another.
	Minutes float64 `env:"MINUTES" envDefault:"10"`
	// Rate is how many submissions a second are begun, of the scenario neighbour how
	// many calls of the others; 0: 250 and 45.
	Rate int `env:"RATE" envDefault:"0"`
	// Dir is where logs and state are kept; empty: a temporary folder, kept only
	// after a violation.
	Dir string `env:"DIR"`
	// Race builds the programs with the race detector.
	Race bool `env:"RACE" envDefault:"false"`
	// From is the commit that the scenario upgrade starts from; empty: the one before
	// the working tree.
	From string `env:"FROM"`
	// Base is the last commit that broke the contract; empty: none has.
	Base string `env:"BASE"`
	// Filled is how many conversations and deliveries are there when the scenario upgrade
	// begins.
	Filled int `env:"FILLED" envDefault:"0"`
	// Bugs narrows the scenario seeded to these (comma-separated).
	Bugs []string `env:"BUGS"`
	// Attacks narrows the scenario neighbour to these (comma-separated).
	Attacks []string `env:"ATTACKS"`
	// AttackFrom is the loopback address that attackers come from, such as 127.0.0.2;
	// empty: that of everybody else.
	AttackFrom string `env:"ATTACK_FROM"`
	// Count is how often the scenario starts starts everything.
	Count int `env:"COUNT" envDefault:"50"`
}

// Validate reports all faults at once.
func (c Config) Validate() error {
	var faults []error
	if _, ok := scenarios[c.Scenario]; !ok {
		faults = append(faults, fmt.Errorf("SCENARIO %q is none of %s", c.Scenario, strings.Join(slices.Sorted(maps.Keys(scenarios)), ", ")))
	}
	if c.Minutes <= 0 {
		faults = append(faults, errors.New("MINUTES must be more than 0"))
	}
	if c.Rate < 0 {
		faults = append(faults, errors.New("RATE must not be negative"))
	}
	if c.Filled < 0 {
		faults = append(faults, errors.New("FILLED must not be negative"))
	}
	if c.Count < 1 {
		faults = append(faults, errors.New("COUNT must be at least 1"))
	}
	for _, name := range c.Bugs {
		if _, ok := seeded.Named(name); !ok {
			faults = append(faults, fmt.Errorf("BUGS: no bug is named %q", name))
		}
	}
	for _, name := range c.Attacks {
		if _, ok := attack.Named(name); !ok {
			faults = append(faults, fmt.Errorf("ATTACKS: no attack is named %q", name))
		}
	}
	if from := net.ParseIP(c.AttackFrom); c.AttackFrom != "" && !from.IsLoopback() {
		faults = append(faults, fmt.Errorf("ATTACK_FROM %q is no loopback address", c.AttackFrom))
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
	scenarios["neighbour"] = (*run).neighbour
	scenarios["starts"] = (*run).starts
	scenarios["failover"] = (*run).failover
	scenarios["frozen"] = (*run).frozen
	scenarios["broker-refuses"] = (*run).brokerRefuses
	scenarios["clock"] = (*run).clock
}

// run is one run of a scenario.
type run struct {
	cfg Config
	out io.Writer
	// binaries are built once.
	binaries string
}

// Run runs a scenario and writes its table to out. It returns ErrViolated when a
// promise was broken.
func Run(ctx context.Context, cfg Config, out io.Writer) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	if cfg.Seed == 0 {
		cfg.Seed = uint64(time.Now().UnixNano())
	}
	if cfg.Rate == 0 {
		cfg.Rate = map[bool]int{false: 250, true: 45}[cfg.Scenario == "neighbour"]
	}
	if cfg.Dir == "" {
		dir, err := os.MkdirTemp("/var/tmp", "messagerie-chaos-")
		if err != nil {
			return fmt.Errorf("making a folder: %w", err)
		}
		cfg.Dir = dir
	}
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil { //nolint:gosec // user postgres must get through it
		return fmt.Errorf("making %s: %w", cfg.Dir, err)
	}
	if err := os.Chmod(cfg.Dir, 0o755); err != nil { //nolint:gosec // as above
		return fmt.Errorf("opening %s: %w", cfg.Dir, err)
	}
	r := &run{cfg: cfg, out: out}
	fmt.Fprintf(out, "scenario %s, seed %d, %g minutes, %d a second\nagain: make chaos SCENARIO=%s SEED=%d MINUTES=%g RATE=%d\n",
		cfg.Scenario, cfg.Seed, cfg.Minutes, cfg.Rate, cfg.Scenario, cfg.Seed, cfg.Minutes, cfg.Rate)
	var err error
	if r.binaries, err = fleet.Build(ctx, "", cfg.Race); err != nil {
		return err
	}
	defer os.RemoveAll(r.binaries)
	if err := scenarios[cfg.Scenario](r, ctx); err != nil {
		fmt.Fprintf(out, "logs and state are in %s\n", cfg.Dir)
		return err
	}
	return os.RemoveAll(cfg.Dir)
}

func (r *run) length() time.Duration { return time.Duration(r.cfg.Minutes * float64(time.Minute)) }

// Child runs a stand-in or an attacker as a process of its own: `dev broker ADDR DIR`,
// `dev inbox ADDR DIR KEY SID TOKEN WEBHOOK`, or `dev attack NAME`, which reads its target
// from standard input. The stand-ins end with a signal.
func Child(ctx context.Context, args []string) error {
	if len(args) == 2 && args[0] == "attack" {
		return attack.Child(ctx, args[1], os.Stdin, os.Stdout)
	}
	return fleet.Child(ctx, args)
}
