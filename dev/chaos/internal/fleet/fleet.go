// Package fleet is the system as child processes on this machine: the real programs,
// a PostgreSQL of its own, a broker, the stand-in for the providers, and between any
// two of them a link that can be spoiled.
//
// What Launch returns is ready, and each part of it can be killed, stopped and started
// again at its old address. Replicas are addresses of the loopback net behind a name
// server of the fleet's own, as a headless service of Kubernetes has them; links are
// proxies (toxiproxy). Children get SIGKILL when the thread ends that has started them,
// so none outlives the harness, however that ends.
//
// It breaks where somebody takes a port between its choice and its use: a process then
// never gets ready, and Launch says which. The provider of tokens runs in the harness,
// as it is no part of what is tested.
package fleet

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ma-messagerie/messagerie/dev/inbox"
	"github.com/ma-messagerie/messagerie/dev/oidc"
	"github.com/ma-messagerie/messagerie/services/messaging"
)

// Credentials that the stand-ins accept.
const (
	sendGridKey = "SG.chaos"
	twilioSID   = "AC00000000000000000000000000000000"
	twilioToken = "chaos"
)

// Times of the notifiers in a run: short, so that what is mended by waiting is
// mended within a run, and in proportion to each other as in production.
const (
	callTimeout   = time.Second
	Lease         = 4 * time.Second
	AmbiguityWait = 45 * time.Second
)

// How long the processes of a run go on after a signal, and then wait for calls.
const (
	DrainDelay   = 1500 * time.Millisecond
	DrainTimeout = 15 * time.Second
)

// workers is how many calls to each provider a notifier makes at once.
const workers = 32

// ReadyPatience is how long a process may take to answer after its start.
const ReadyPatience = 2 * time.Minute

// Options are what runs differ in.
type Options struct {
	// Reports: the providers report what they took (webhooks). Lookups: they can
	// be asked.
	Reports, Lookups bool
	// Reconcile is how often the ledger is compared; 0 never.
	Reconcile time.Duration
	// Standby is how the database is copied.
	Standby Standby
	// Cluster: the broker has three nodes, of which each keeps all events, and services
	// are connected with the first.
	Cluster bool
	// Clock: that of the databases can be set (see [Database.SetClock]).
	Clock bool
	// Skew is how wrong the clock of each second replica is, where a program goes by it: a
	// seeded bug.
	Skew time.Duration
	// Product: one replica of each service, with the settings that it comes with and
	// the memory that deploy/k8s gives it, and the front end (package web). No link
	// is between them: nothing is spoiled, and nothing else is measured.
	Product bool
}

// Fleet is the system as child processes, with links between them.
type Fleet struct {
	// Options are what it was launched with.
	Options  Options
	Database *Database
	// Broker is the one that services are connected with, Brokers are all.
	Broker  *Process
	Brokers []*Process
	// Services are the replicas of all four.
	Services []*Process
	// GRPCAddrs and HTTPAddrs are where the gateways are.
	GRPCAddrs, HTTPAddrs []string
	// WebAddr is where the front end is, if it runs, and OIDCAddr who signs people in.
	WebAddr, OIDCAddr string

	dir                string
	links              *links
	names              *names
	oidc               *oidc.Provider
	inbox              *Process
	inboxAddr          string
	nodes              []node
	denied             []string // subjects that the broker refuses
	webhookKey, keyset string
	hooks              string // where the inbox finds the gateway
	targets            map[string]string
	adminAddrs         map[string]string
	silent             silence

	bridge   *bridge
	back     *http.Server
	oidcDone sync.WaitGroup
}

// Launch starts everything and returns when it answers. Call Close.
func Launch(ctx context.Context, dir, binaries string, opts Options) (f *Fleet, err error) {
	f = &Fleet{dir: dir, Options: opts, links: newLinks(), adminAddrs: make(map[string]string)}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // user postgres must get through it
		return f, fmt.Errorf("making %s: %w", dir, err)
	}
	for _, step := range []func(context.Context, string) error{f.startDatabase, f.startOIDC, f.startBroker, f.startInbox, f.startServices} {
		if err := step(ctx, binaries); err != nil {
			return f, err
		}
	}
	return f, f.AwaitAll(ctx)
}

// Path is a file or folder of the state: postgres, nats, oidc, inbox.
func (f *Fleet) Path(part string) string { return filepath.Join(f.dir, part) }

// startOIDC runs the provider of tokens in this process: it is no part of what is
// tested.
func (f *Fleet) startOIDC(ctx context.Context, _ string) error {
	var config net.ListenConfig
	lis, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("opening the provider of tokens: %w", err)
	}
	f.OIDCAddr = lis.Addr().String()
	settings := oidc.Config{BaseURL: "http://" + f.OIDCAddr, StateDir: f.Path("oidc")}
	if f.Options.Product {
		if f.WebAddr, err = freePort(ctx); err != nil {
			return err
		}
		settings.WebURLs = []string{"http://" + f.WebAddr}
	}
	if f.oidc, err = oidc.New(settings); err != nil {
		return err
	}
	f.back = &http.Server{Handler: f.silent.over(f.oidc), ReadHeaderTimeout: 5 * time.Second}
	f.oidcDone.Go(func() { _ = f.back.Serve(lis) })
	f.keyset, err = messaging.NewKeyset()
	return err
}

func (f *Fleet) startInbox(ctx context.Context, binaries string) (err error) {
	if f.inboxAddr, err = freePort(ctx); err != nil {
		return err
	}
	for range f.replicas() {
		addr, err := freePort(ctx)
		if err != nil {
			return err
		}
		f.HTTPAddrs = append(f.HTTPAddrs, addr)
	}
	// The key must be there before the notifiers start.
	box, err := inbox.New(inbox.Config{StateDir: f.Path("inbox"), TwilioSID: twilioSID, TwilioToken: twilioToken})
	if err != nil {
		return err
	}
	f.webhookKey = box.WebhookKey()
	if err := box.Close(); err != nil {
		return err
	}
	hooks, err := f.way("inbox-gateway", f.HTTPAddrs[0])
	if err != nil {
		return err
	}
	f.inbox = &Process{
		Name: "inbox", path: filepath.Join(binaries, "dev"), logs: f.dir, env: os.Environ(), ready: dialable(f.inboxAddr),
		args: []string{"inbox", f.inboxAddr, f.Path("inbox"), sendGridKey, twilioSID, twilioToken, f.webhookURL(hooks, "sendgrid")},
	}
	f.hooks = hooks
	return f.inbox.Start()
}

func (f *Fleet) replicas() int {
	if f.Options.Product {
		return 1
	}
	return 2
}

// way is a link to an address, or the address itself where there are no links.
func (f *Fleet) way(name, upstream string) (addr string, err error) {
	if f.Options.Product {
		return upstream, nil
	}
	return f.links.open(name, "127.0.0.1:0", upstream)
}

func (f *Fleet) webhookURL(addr, provider string) string {
	if !f.Options.Reports {
		return ""
	}
	return "http://" + addr + "/webhooks/" + provider
}

func dialable(addr string) func(context.Context) error {
	return func(ctx context.Context) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err != nil {
			return err
		}
		return conn.Close()
	}
}

// All are all processes but the database.
func (f *Fleet) All() []*Process { return append(slices.Concat(f.Services, f.Brokers), f.inbox) }

// Named returns the processes whose names begin so.
func (f *Fleet) Named(prefix string) (list []*Process) {
	for _, p := range f.All() {
		if strings.HasPrefix(p.Name, prefix) {
			list = append(list, p)
		}
	}
	return list
}

// AwaitAll waits until every process answers.
func (f *Fleet) AwaitAll(ctx context.Context) error {
	for _, p := range f.All() {
		if err := p.AwaitReady(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Halt ends all services and the broker at once; their state stays.
func (f *Fleet) Halt() {
	for _, p := range slices.Concat(f.Services, f.Brokers) {
		p.End(syscall.SIGKILL)
	}
}

// Resume starts all that Halt has ended, and returns before any of it is ready.
func (f *Fleet) Resume() error {
	for _, p := range slices.Concat(f.Services, f.Brokers) {
		if err := p.Start(); err != nil {
			return err
		}
	}
	return nil
}

// Close kills everything.
func (f *Fleet) Close() {
	for _, p := range f.Services {
		p.Signal(syscall.SIGCONT)
		p.End(syscall.SIGKILL)
	}
	for _, p := range append(slices.Clone(f.Brokers), f.inbox) {
		if p != nil {
			p.End(syscall.SIGKILL)
		}
	}
	f.Silence(false)
	f.links.close()
	if f.names != nil {
		_ = f.names.conn.Close() // nobody asks any more
	}
	if f.bridge != nil {
		f.bridge.close()
	}
	if f.back != nil {
		_ = f.back.Close()
		f.oidcDone.Wait()
	}
	if f.Database != nil && f.Database.cluster != nil {
		if err := f.Database.Stop(); err != nil {
			slog.Warn("stopping the database", "error", err)
		}
	}
}

// Token is a token of a persona, as after a sign-in.
func (f *Fleet) Token(persona string) (string, error) { return f.oidc.Token(persona) }

// Links are the ways between processes.
func (f *Fleet) Links() []*Link { return f.links.all }

// AdminURL is where a process has its health and metrics.
func (f *Fleet) AdminURL(process string) string { return "http://" + f.adminAddrs[process] }

// Ready reports whether a process says that it is ready.
func (f *Fleet) Ready(ctx context.Context, process string) bool {
	return httpReady(f.AdminURL(process)+"/readyz")(ctx) == nil
}
