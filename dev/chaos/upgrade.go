package chaos

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ma-messagerie/messagerie/dev/chaos/internal/fleet"
)

// version is the programs of one commit.
type version struct {
	title, binaries string
	// apart: what came later breaks with it, so that they cannot serve beside each other.
	apart bool
}

// walkPatience bounds the whole way.
const walkPatience = 30 * time.Minute

// rollout is one way through versions under load: which replicas change to which.
type rollout struct {
	stage *stage
	err   error

	mu sync.Mutex
	// served are calls answered (notifier: made), by service and version.
	served map[string]map[string]int64
	runs   map[string]version // by process
}

// upgrade starts the system as an earlier commit was, and under load brings it to
// this one as deploy/k8s does: the schemas first, while the earlier programs serve;
// then one process after the other, so that for a third of the time both versions
// serve beside each other; then all the way back, on the schemas that are new, and
// forward again. No request may fail. From a commit before a listed break, whose programs do
// not read what this one's write, the way ends with the schemas.
func (r *run) upgrade(ctx context.Context) error {
	older, err := r.buildOlder(ctx)
	if err != nil {
		return err
	}
	defer os.RemoveAll(older.binaries)
	return r.rollOut(ctx, older, version{title: "this tree", binaries: r.binaries}, nil)
}

// rollOut takes spoil, if any, as part of the migration, and ends there: it is how a test
// shows that a migration that breaks what runs is noticed.
func (r *run) rollOut(ctx context.Context, older, newer version, spoil func(context.Context, *fleet.Fleet) error) error {
	was := r.binaries
	r.binaries = older.binaries
	s, err := r.stage(ctx, "upgrade", inReports)
	r.binaries = was
	if err != nil {
		return err
	}
	defer s.close()
	o := &rollout{stage: s, served: make(map[string]map[string]int64), runs: make(map[string]version)}
	for _, p := range s.fleet.Services {
		o.runs[p.Name] = older
	}
	// The load goes on for as long as the way takes: restarts take what they take.
	walking, done := context.WithCancel(ctx)
	defer done()
	s.underLoad(walking, r.cfg.Rate, walkPatience, func(ctx context.Context) {
		defer done()
		o.err = o.walk(ctx, older, newer, spoil)
	})
	o.count(ctx, s.fleet.Services...)
	o.print()
	failed := s.load.Failed.Load()
	fmt.Fprintf(r.out, "%d failed requests of %d\n", failed, s.load.Acked.Load()+failed)
	err = errors.Join(o.err, s.judge(ctx, false))
	if failed > 0 {
		err = errors.Join(err, fmt.Errorf("%w: %d requests failed", ErrViolated, failed))
	}
	return errors.Join(err, o.bothServed(older, newer))
}

// walk goes through the phases. Waiting between them takes half of the time that was
// asked for; restarts take what they take.
func (o *rollout) walk(ctx context.Context, older, newer version, spoil func(context.Context, *fleet.Fleet) error) error {
	f, rest := o.stage.fleet, o.stage.run.length()/14
	say := func(what string) { fmt.Fprintf(o.stage.run.out, "upgrade: %s\n", what) }
	if filled := o.stage.run.cfg.Filled; filled > 0 {
		if err := o.stage.fill(ctx, filled); err != nil {
			return err
		}
	}
	fleet.Sleep(ctx, rest)
	say("migrate up, while " + older.title + " serves and somebody reads every table")
	begun := time.Now()
	waited, err := o.stage.besideReader(ctx, func() error {
		for _, p := range f.Services {
			if err := migrate(ctx, p, newer); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(o.stage.run.out, "upgrade: migrated in %s; nobody waited for a table for longer than %s\n", time.Since(begun).Round(10*time.Millisecond), waited.Round(time.Millisecond))
	if waited > waitsMost {
		return fmt.Errorf("%w: somebody waited %s for a table", ErrViolated, waited)
	}
	if spoil != nil {
		// What it breaks, it breaks by now.
		return spoil(ctx, f)
	}
	fleet.Sleep(ctx, rest)
	if older.apart {
		say("it ends here: " + older.title + " is from before a break (CHANGELOG.md), and does not serve beside " + newer.title)
		return nil
	}
	for _, phase := range []struct {
		what   string
		suffix string // of the replicas that change
		to     version
	}{
		{"one replica of each service to " + newer.title, "-1", newer},
		{"the others", "-2", newer},
		{"one replica of each back to " + older.title, "-2", older},
		{"the others", "-1", older},
		{"all forward again", "", newer},
	} {
		say(phase.what)
		for _, replica := range []string{"-1", "-2"} {
			if !strings.HasPrefix(replica, phase.suffix) {
				continue
			}
			var services errgroup.Group // each rolls out by itself
			for _, p := range f.Services {
				if strings.HasSuffix(p.Name, replica) {
					services.Go(func() error { return o.change(ctx, p, phase.to) })
				}
			}
			if err := services.Wait(); err != nil {
				return err
			}
		}
		fleet.Sleep(ctx, rest)
	}
	return nil
}

// migrate brings the schema of a process's database up to date, with what a job of
// deploy/k8s has: its databases and nothing else.
func migrate(ctx context.Context, p *fleet.Process, to version) error {
	service, replica, _ := strings.Cut(p.Name, "-")
	prefix := strings.ToUpper(service) + "_"
	if replica != "1" || service == "gateway" {
		return nil
	}
	cmd := exec.CommandContext(ctx, filepath.Join(to.binaries, service), "migrate", "up") //nolint:gosec // we have built it
	for _, variable := range p.Env() {
		if strings.HasPrefix(variable, prefix+"DATABASE_URL=") || strings.HasPrefix(variable, prefix+"VAULT_URL=") {
			cmd.Env = append(cmd.Env, variable)
		}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("migrating %s: %w\n%s", service, err, out)
	}
	return nil
}

// change ends a process as Kubernetes does and starts it as another version. What
// was added to its settings since, an earlier version does not read.
func (o *rollout) change(ctx context.Context, p *fleet.Process, to version) error {
	o.count(ctx, p)
	p.Acting.Lock()
	defer p.Acting.Unlock()
	p.End(syscall.SIGTERM)
	service, _, _ := strings.Cut(p.Name, "-")
	p.Replace(filepath.Join(to.binaries, service), strings.ToUpper(service)+"_MIGRATE=false")
	o.mu.Lock()
	o.runs[p.Name] = to
	o.mu.Unlock()
	if err := p.Start(); err != nil {
		return err
	}
	if err := p.AwaitReady(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("as %s: %w", to.title, err)
	}
	return nil
}

// servedBy is what tells how much a process has done since its start.
var servedBy = map[string]string{
	"gateway": "http_server_request_duration_seconds_count", "taxonomy": "rpc_server_call_duration_seconds_count",
	"messaging": "rpc_server_call_duration_seconds_count", "notifier": "messagerie_notifier_call_duration_seconds_count",
}

// count adds what processes have done so far to their versions' account. Each is
// asked once, just before its end.
func (o *rollout) count(ctx context.Context, processes ...*fleet.Process) {
	for _, p := range processes {
		service, _, _ := strings.Cut(p.Name, "-")
		n, err := sum(context.WithoutCancel(ctx), o.stage.fleet.AdminURL(p.Name)+"/metrics", servedBy[service])
		o.mu.Lock()
		if err != nil {
			fmt.Fprintf(o.stage.run.out, "upgrade: %s gives no account: %v\n", p.Name, err)
		}
		if o.served[service] == nil {
			o.served[service] = make(map[string]int64)
		}
		o.served[service][o.runs[p.Name].title] += n
		o.mu.Unlock()
	}
}

// sum adds up the samples of a metric on a page.
func sum(ctx context.Context, url, metric string) (total int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, fmt.Errorf("asking for metrics: %w", err)
	}
	client := &http.Client{}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return 0, fmt.Errorf("asking for metrics: %w", err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		name, _, _ := strings.Cut(lines.Text(), "{")
		if at := strings.LastIndexByte(lines.Text(), ' '); name == metric && at > 0 {
			if n, err := strconv.ParseFloat(lines.Text()[at+1:], 64); err == nil {
				total += int64(n)
			}
		}
	}
	return total, lines.Err()
}

func (o *rollout) print() {
	out := tabwriter.NewWriter(o.stage.run.out, 0, 0, 2, ' ', 0)
	defer func() { _ = out.Flush() }()
	for service, by := range o.served {
		for title, n := range by {
			fmt.Fprintf(out, "  %s\t%s\t%d calls\n", service, title, n)
		}
	}
}

// bothServed refuses a run that proves nothing.
func (o *rollout) bothServed(older, newer version) error {
	serving := []version{older, newer}
	if older.apart {
		serving = serving[:1]
	}
	for service, by := range o.served {
		for _, v := range serving {
			if by[v.title] == 0 {
				return fmt.Errorf("%s of %s did nothing: the run proves nothing", service, v.title)
			}
		}
	}
	return nil
}

// buildOlder compiles the services of the earlier commit. The stand-ins of broker and
// providers are this tree's: they are no part of what is tested.
func (r *run) buildOlder(ctx context.Context) (version, error) {
	commit, err := r.older(ctx)
	if err != nil {
		return version{}, err
	}
	tree, err := os.MkdirTemp("", "messagerie-older-")
	if err != nil {
		return version{}, fmt.Errorf("making a folder: %w", err)
	}
	defer os.RemoveAll(tree)
	if _, err := git(ctx, "worktree", "add", "--detach", tree, commit); err != nil {
		return version{}, err
	}
	defer func() { _, _ = git(context.WithoutCancel(ctx), "worktree", "remove", "--force", tree) }()
	binaries, err := fleet.Build(ctx, tree, r.cfg.Race)
	if err != nil {
		return version{}, fmt.Errorf("of commit %s: %w", commit, err)
	}
	if out, err := exec.CommandContext(ctx, "cp", filepath.Join(r.binaries, "dev"), filepath.Join(binaries, "dev")).CombinedOutput(); err != nil { //nolint:gosec // both ours
		return version{}, fmt.Errorf("copying the stand-ins: %w\n%s", err, out)
	}
	apart, err := r.beforeBreak(ctx, commit)
	return version{"commit " + commit, binaries, apart}, err
}

// beforeBreak reports whether a commit is an ancestor of the last that broke the contract.
func (r *run) beforeBreak(ctx context.Context, commit string) (bool, error) {
	if r.cfg.Base == "" {
		return false, nil
	}
	n, err := git(ctx, "rev-list", "--count", "--ancestry-path", commit+".."+r.cfg.Base)
	return n != "0" && err == nil, err
}

// older is the commit to upgrade from: the one that was asked for, else the last one
// that differs from what is in the working tree.
func (r *run) older(ctx context.Context) (string, error) {
	from := r.cfg.From
	if from == "" {
		from = "HEAD~1"
		changed, err := git(ctx, "status", "--porcelain", "--untracked-files=no")
		if err != nil {
			return "", err
		}
		if changed != "" {
			from = "HEAD"
		}
	}
	commit, err := git(ctx, "rev-parse", "--verify", "--short=12", from+"^{commit}")
	if err != nil {
		return "", fmt.Errorf("finding the commit to upgrade from (CHAOS_FROM; a shallow clone has none: git fetch --unshallow): %w", err)
	}
	return commit, nil
}

func git(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...) //nolint:gosec // ours, and a commit that whoever runs this names
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(said.String()))
	}
	return strings.TrimSpace(string(out)), nil
}
