package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/ma-messagerie/messagerie/chassis/localpg"
	"github.com/ma-messagerie/messagerie/chassis/seeded"
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
	lease         = 4 * time.Second
	ambiguityWait = 45 * time.Second
)

// workers is how many calls to each provider a notifier makes at once.
const workers = 32

// readyPatience is how long a process may take to answer after its start.
const readyPatience = 60 * time.Second

// options are what runs differ in.
type options struct {
	// reports: the providers report what they took (webhooks). lookups: they can
	// be asked.
	reports, lookups bool
	// reconcile is how often the ledger is compared; 0 never.
	reconcile time.Duration
	// bug is switched on in every process; skew is how wrong the clock of the
	// second notifier is.
	bug  seeded.Bug
	skew time.Duration
}

// fleet is the system as child processes, with links between them.
type fleet struct {
	dir   string
	opts  options
	links *links
	names *names
	oidc  *oidc.Provider

	database *database
	broker   *process
	inbox    *process
	services []*process
	// addresses
	inboxAddr, oidcAddr, brokerAddr string
	grpcAddrs, httpAddrs            []string
	webhookKey                      string
	keyset                          string
	hooks                           string // where the inbox finds the gateway
	adminAddrs                      map[string]string

	bridge   *bridge
	back     *http.Server
	oidcDone sync.WaitGroup
	storeOld string // an old copy of the broker's store
}

// database is the private PostgreSQL.
type database struct {
	acting  sync.Mutex
	mu      sync.Mutex
	cluster *localpg.Cluster
	dir     string
}

func (d *database) start(ctx context.Context) error {
	cluster, err := localpg.Start(ctx, localpg.Options{Dir: d.dir, Durable: true})
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cluster = cluster
	return nil
}

func (d *database) url(name string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cluster.URL(name)
}

func (d *database) kill() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cluster.Kill()
}

// build compiles the programs once, into a folder.
func build(ctx context.Context, race, withBugs bool) (dir string, err error) {
	return buildIn(ctx, "", race, withBugs)
}

// buildIn compiles those of a working tree; empty: of this one.
func buildIn(ctx context.Context, tree string, race, withBugs bool) (dir string, err error) {
	dir, err = os.MkdirTemp("", "messagerie-chaos-bin-")
	if err != nil {
		return "", fmt.Errorf("making a folder for the programs: %w", err)
	}
	const prefix = "github.com/ma-messagerie/messagerie/"
	args := []string{"build"}
	if race {
		args = append(args, "-race")
	}
	if withBugs {
		args = append(args, "-tags", "seeded")
	}
	args = append(args, "-o", dir+"/", prefix+"dev", prefix+"services/gateway/cmd/gateway", prefix+"services/messaging/cmd/messaging",
		prefix+"services/notifier/cmd/notifier", prefix+"services/taxonomy/cmd/taxonomy")
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = tree
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the programs: %w\n%s", err, out)
	}
	return dir, nil
}

// launch starts everything and returns when it answers. Call close.
func launch(ctx context.Context, dir, binaries string, opts options) (f *fleet, err error) {
	f = &fleet{dir: dir, opts: opts, links: newLinks(), adminAddrs: make(map[string]string)}
	defer func() {
		if err != nil {
			f.close()
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
	return f, f.awaitAll(ctx)
}

func (f *fleet) path(part string) string { return filepath.Join(f.dir, part) }

func (f *fleet) startDatabase(ctx context.Context, _ string) error {
	f.database = &database{dir: f.path("postgres")}
	if err := f.database.start(ctx); err != nil {
		return err
	}
	for _, name := range []string{"taxonomy", "messaging", "notifier"} {
		if err := f.database.cluster.CreateDatabase(ctx, name); err != nil {
			return err
		}
	}
	var err error
	f.bridge, err = newBridge(ctx, filepath.Join(f.database.cluster.Dir(), ".s.PGSQL.5432"))
	return err
}

// startOIDC runs the provider of tokens in this process: it is no part of what is
// tested.
func (f *fleet) startOIDC(ctx context.Context, _ string) error {
	var config net.ListenConfig
	lis, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("opening the provider of tokens: %w", err)
	}
	f.oidcAddr = lis.Addr().String()
	if f.oidc, err = oidc.New(oidc.Config{BaseURL: "http://" + f.oidcAddr, StateDir: f.path("oidc")}); err != nil {
		return err
	}
	f.back = &http.Server{Handler: f.oidc, ReadHeaderTimeout: 5 * time.Second}
	f.oidcDone.Go(func() { _ = f.back.Serve(lis) })
	f.keyset, err = messaging.NewKeyset()
	return err
}

func (f *fleet) startBroker(ctx context.Context, binaries string) (err error) {
	if f.brokerAddr, err = freePort(ctx); err != nil {
		return err
	}
	f.broker = &process{
		name: "broker", path: filepath.Join(binaries, "dev"), args: []string{"broker", f.brokerAddr, f.path("nats")}, logs: f.dir,
		env: os.Environ(), ready: dialable(f.brokerAddr),
	}
	return f.broker.start()
}

func (f *fleet) startInbox(ctx context.Context, binaries string) (err error) {
	if f.inboxAddr, err = freePort(ctx); err != nil {
		return err
	}
	for range 2 {
		addr, err := freePort(ctx)
		if err != nil {
			return err
		}
		f.httpAddrs = append(f.httpAddrs, addr)
	}
	// The key must be there before the notifiers start.
	box, err := inbox.New(inbox.Config{StateDir: f.path("inbox"), TwilioSID: twilioSID, TwilioToken: twilioToken})
	if err != nil {
		return err
	}
	f.webhookKey = box.WebhookKey()
	if err := box.Close(); err != nil {
		return err
	}
	hooks, err := f.links.open("inbox-gateway", "127.0.0.1:0", f.httpAddrs[0])
	if err != nil {
		return err
	}
	f.inbox = &process{
		name: "inbox", path: filepath.Join(binaries, "dev"), logs: f.dir, env: os.Environ(), ready: dialable(f.inboxAddr),
		args: []string{"inbox", f.inboxAddr, f.path("inbox"), sendGridKey, twilioSID, twilioToken, f.webhookURL(hooks, "sendgrid")},
	}
	f.hooks = hooks
	return f.inbox.start()
}

func (f *fleet) webhookURL(addr, provider string) string {
	if !f.opts.reports {
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

// startServices starts two of each service, one taxonomy, and every link.
func (f *fleet) startServices(ctx context.Context, binaries string) error {
	// A replica is an address of the loopback net, as one port stands for all.
	replicas := map[string][]netip.Addr{}
	for i, name := range []string{"messaging", "notifier", "taxonomy"} {
		for j := range 2 {
			replicas[name] = append(replicas[name], netip.AddrFrom4([4]byte{127, 77, byte(i + 1), byte(j + 1)}))
		}
	}
	replicas["taxonomy"] = replicas["taxonomy"][:1]
	var err error
	if f.names, err = newNames(ctx, replicas); err != nil {
		return err
	}
	targets := make(map[string]string)
	listen := make(map[string][]string)
	for name, addrs := range replicas {
		port := ""
		for i, addr := range addrs {
			real, err := freePort(ctx)
			if err != nil {
				return err
			}
			listen[name] = append(listen[name], real)
			via, err := f.links.open(fmt.Sprintf("to-%s-%d", name, i+1), net.JoinHostPort(addr.String(), port0(port)), real)
			if err != nil {
				return err
			}
			_, port, _ = net.SplitHostPort(via)
		}
		targets[name] = f.names.target(name, port)
	}
	for i := range listen["taxonomy"] {
		if err := f.add(ctx, binaries, "taxonomy", i, f.taxonomyEnv(listen["taxonomy"][i])); err != nil {
			return err
		}
	}
	for i := range listen["messaging"] {
		if err := f.add(ctx, binaries, "messaging", i, f.messagingEnv(listen["messaging"][i], targets)); err != nil {
			return err
		}
	}
	for i := range listen["notifier"] {
		if err := f.add(ctx, binaries, "notifier", i, f.notifierEnv(i, listen["notifier"][i], targets)); err != nil {
			return err
		}
	}
	for i := range f.httpAddrs {
		addr, err := freePort(ctx)
		if err != nil {
			return err
		}
		f.grpcAddrs = append(f.grpcAddrs, addr)
		if err := f.add(ctx, binaries, "gateway", i, f.gatewayEnv(addr, f.httpAddrs[i], targets)); err != nil {
			return err
		}
	}
	return nil
}

func port0(port string) string {
	if port == "" {
		return "0"
	}
	return port
}

// add starts a replica of a service.
func (f *fleet) add(ctx context.Context, binaries, service string, i int, settings map[string]string) error {
	admin, err := freePort(ctx)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("%s-%d", service, i+1)
	prefix := strings.ToUpper(service) + "_"
	common := map[string]string{
		"ADMIN_ADDR": admin, "DRAIN_DELAY": "1500ms", "DRAIN_TIMEOUT": "15s", "LOG_LEVEL": "INFO",
	}
	issuers, err := json.Marshal(f.oidc.Issuers())
	if err != nil {
		return fmt.Errorf("writing the issuers: %w", err)
	}
	common["ISSUERS"] = string(issuers)
	maps.Copy(settings, common)
	for setting, of := range map[string]string{"DATABASE_URL": service, "NATS_URL": service} {
		value, wanted := settings[setting]
		if !wanted || value != "" {
			continue
		}
		upstream, scheme := f.bridge.listener.Addr().String(), "postgres://postgres@%s/"+of+"?sslmode=disable"
		if setting == "NATS_URL" {
			upstream, scheme = f.brokerAddr, "nats://%s"
		}
		via, err := f.links.open(name+"-"+strings.ToLower(strings.TrimSuffix(strings.TrimSuffix(setting, "_URL"), "BASE")), "127.0.0.1:0", upstream)
		if err != nil {
			return err
		}
		settings[setting] = fmt.Sprintf(scheme, via)
	}
	env := append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	for setting, value := range settings {
		env = append(env, prefix+setting+"="+value)
	}
	if f.opts.bug != "" {
		env = append(env, "MESSAGERIE_SEEDED_BUG="+string(f.opts.bug))
		if i == 1 {
			env = append(env, "MESSAGERIE_CLOCK_SKEW="+f.opts.skew.String())
		}
	}
	p := &process{name: name, path: filepath.Join(binaries, service), env: env, logs: f.dir, ready: httpReady("http://" + admin + "/readyz")}
	f.services = append(f.services, p)
	f.adminAddrs[name] = admin
	return p.start()
}

func httpReady(url string) func(context.Context) error {
	client := &http.Client{Timeout: time.Second}
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("answers %s", resp.Status)
		}
		return nil
	}
}

func (f *fleet) taxonomyEnv(addr string) map[string]string {
	return map[string]string{"GRPC_ADDR": addr, "DATABASE_URL": ""}
}

func (f *fleet) machineEnv(id string) map[string]string {
	machine, err := f.oidc.Machine(id)
	if err != nil {
		panic(err) // a name of ours
	}
	return map[string]string{"TOKEN_URL": machine.TokenURL, "CLIENT_ID": machine.ClientID, "CLIENT_SECRET": machine.ClientSecret}
}

func (f *fleet) messagingEnv(addr string, targets map[string]string) map[string]string {
	env := map[string]string{
		"GRPC_ADDR": addr, "DATABASE_URL": "", "NATS_URL": "", "TAXONOMY_ADDR": targets["taxonomy"], "KEYSET": f.keyset, "RELAY_POLL": "500ms",
	}
	maps.Copy(env, f.machineEnv("messaging"))
	return env
}

func (f *fleet) notifierEnv(i int, addr string, targets map[string]string) map[string]string {
	via, err := f.links.open(fmt.Sprintf("notifier-%d-inbox", i+1), "127.0.0.1:0", f.inboxAddr)
	if err != nil {
		panic(err) // port 0
	}
	env := map[string]string{
		"GRPC_ADDR": addr, "DATABASE_URL": "", "NATS_URL": "", "MESSAGING_ADDR": targets["messaging"],
		"SITE_ADDRESS": "messagerie.example.org", "SENDGRID_BASE_URL": "http://" + via, "SENDGRID_API_KEY": sendGridKey,
		"SENDGRID_FROM": "ne-pas-repondre@messagerie.example.org", "SENDGRID_ACTIVITY": fmt.Sprint(f.opts.lookups),
		"TWILIO_BASE_URL": "http://" + via, "TWILIO_ACCOUNT_SID": twilioSID, "TWILIO_AUTH_TOKEN": twilioToken, "TWILIO_FROM": "+33639980000",
		"TWILIO_LOOKUP": fmt.Sprint(f.opts.lookups), "WORKERS": fmt.Sprint(workers),
		"CALL_TIMEOUT": callTimeout.String(), "LEASE": lease.String(), "AMBIGUITY_WAIT": ambiguityWait.String(), "POLL": "250ms",
		"RECONCILE_EVERY": f.opts.reconcile.String(),
	}
	if f.opts.reports {
		env["SENDGRID_WEBHOOK_KEY"] = f.webhookKey
		env["TWILIO_STATUS_CALLBACK"] = f.webhookURL(f.hooks, "twilio")
	}
	maps.Copy(env, f.machineEnv("notifier"))
	return env
}

func (f *fleet) gatewayEnv(grpcAddr, httpAddr string, targets map[string]string) map[string]string {
	return map[string]string{
		"GRPC_ADDR": grpcAddr, "HTTP_ADDR": httpAddr, "TAXONOMY_ADDR": targets["taxonomy"], "MESSAGING_ADDR": targets["messaging"],
		"NOTIFIER_ADDR": targets["notifier"], "RATE_PER_CALLER": "0", "RATE_PER_ADDRESS": "0", "WEBHOOK_RATE": "0", "ACCESS_LOG": "false",
		"CALL_TIMEOUT": "5s",
	}
}

// everything is all processes but the database.
func (f *fleet) everything() []*process { return append(slices.Clone(f.services), f.broker, f.inbox) }

// named returns the processes whose names begin so.
func (f *fleet) named(prefix string) (list []*process) {
	for _, p := range f.everything() {
		if strings.HasPrefix(p.name, prefix) {
			list = append(list, p)
		}
	}
	return list
}

func (f *fleet) awaitAll(ctx context.Context) error {
	for _, p := range f.everything() {
		if err := p.awaitReady(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (f *fleet) close() {
	for _, p := range f.services {
		p.signal(syscall.SIGCONT)
		p.end(syscall.SIGKILL)
	}
	for _, p := range []*process{f.broker, f.inbox} {
		if p != nil {
			p.end(syscall.SIGKILL)
		}
	}
	f.links.close()
	if f.names != nil {
		_ = f.names.conn.Close() // nobody asks any more
	}
	if f.bridge != nil {
		f.bridge.listener.Close()
	}
	if f.back != nil {
		_ = f.back.Close()
		f.oidcDone.Wait()
	}
	if f.database != nil && f.database.cluster != nil {
		if err := f.database.cluster.Stop(); err != nil {
			slog.Warn("stopping the database", "error", err)
		}
	}
}

// Child runs a stand-in as a process of its own: `dev broker ADDR DIR` or `dev
// inbox ADDR DIR KEY SID TOKEN WEBHOOK`. It ends with a signal.
func Child(ctx context.Context, args []string) error {
	switch {
	case len(args) == 3 && args[0] == "broker":
		return serveBroker(ctx, args[1], args[2])
	case len(args) == 7 && args[0] == "inbox":
		return serveInbox(ctx, args[1], inbox.Config{StateDir: args[2], APIKey: args[3], TwilioSID: args[4], TwilioToken: args[5], SendGridWebhook: args[6]})
	}
	return errors.New("usage: dev broker ADDR DIR | dev inbox ADDR DIR KEY SID TOKEN WEBHOOK")
}

func serveBroker(ctx context.Context, addr, dir string) error {
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		return fmt.Errorf("reading the address: %w", err)
	}
	broker, err := server.NewServer(&server.Options{
		ServerName: "chaos", Host: at.Addr().String(), Port: int(at.Port()), JetStream: true, StoreDir: dir, SyncAlways: true, NoSigs: true,
	})
	if err != nil {
		return fmt.Errorf("starting the broker: %w", err)
	}
	broker.ConfigureLogger()
	broker.Start()
	<-ctx.Done()
	broker.Shutdown()
	broker.WaitForShutdown()
	return nil
}

func serveInbox(ctx context.Context, addr string, cfg inbox.Config) error {
	box, err := inbox.New(cfg)
	if err != nil {
		return err
	}
	var config net.ListenConfig
	lis, err := config.Listen(ctx, "tcp", addr)
	if err != nil {
		return errors.Join(fmt.Errorf("opening the inbox: %w", err), box.Close())
	}
	srv := &http.Server{Handler: box, ReadHeaderTimeout: 5 * time.Second}
	context.AfterFunc(ctx, func() { _ = srv.Close() })
	if err := srv.Serve(lis); !errors.Is(err, http.ErrServerClosed) {
		return errors.Join(fmt.Errorf("serving the inbox: %w", err), box.Close())
	}
	return box.Close()
}
