// Package stack runs the whole system in one process: a private PostgreSQL, a
// broker, an OIDC provider with personas, a stand-in for the providers of e-mail
// and SMS with an inbox page, and the four services.
//
// The services are the very ones that production runs, called by their Run
// functions with other addresses. Nothing in them knows of this package. All
// state is in one folder and survives a restart, kill -9 included.
package stack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"golang.org/x/sync/errgroup"

	"github.com/ma-messagerie/messagerie/chassis"
	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/localpg"
	"github.com/ma-messagerie/messagerie/dev/inbox"
	"github.com/ma-messagerie/messagerie/dev/journey"
	"github.com/ma-messagerie/messagerie/dev/oidc"
	"github.com/ma-messagerie/messagerie/services/gateway"
	"github.com/ma-messagerie/messagerie/services/messaging"
	"github.com/ma-messagerie/messagerie/services/notifier"
	"github.com/ma-messagerie/messagerie/services/taxonomy"
	"github.com/ma-messagerie/messagerie/web"
)

// Config is read from DEV_*. Every address may have the port 0: a free one.
type Config struct {
	// StateDir holds everything that survives a restart.
	StateDir string `env:"STATE_DIR" envDefault:".dev"`
	// Reset starts clean: the state of earlier runs is deleted.
	Reset bool `env:"RESET" envDefault:"false"`
	// HTTPAddr and GRPCAddr are the gateway's.
	HTTPAddr string `env:"HTTP_ADDR" envDefault:"127.0.0.1:8080"`
	GRPCAddr string `env:"GRPC_ADDR" envDefault:"127.0.0.1:9090"`
	// WebAddr is where the pages are.
	WebAddr string `env:"WEB_ADDR" envDefault:"127.0.0.1:8000"`
	// OIDCAddr is the OIDC provider's.
	OIDCAddr string `env:"OIDC_ADDR" envDefault:"127.0.0.1:5556"`
	// InboxAddr is that of the stand-in for the providers.
	InboxAddr string `env:"INBOX_ADDR" envDefault:"127.0.0.1:8025"`
	// NATSAddr is the broker's.
	NATSAddr string `env:"NATS_ADDR" envDefault:"127.0.0.1:14222"`
	// Database URLs of a PostgreSQL of your own, instead of a private one: all
	// four or none.
	TaxonomyDatabaseURL  string `env:"TAXONOMY_DATABASE_URL"`
	MessagingDatabaseURL string `env:"MESSAGING_DATABASE_URL"`
	NotifierDatabaseURL  string `env:"NOTIFIER_DATABASE_URL"`
	VaultDatabaseURL     string `env:"VAULT_DATABASE_URL"`
}

// Validate reports all faults at once.
func (c Config) Validate() error {
	given := 0
	for _, url := range c.databases() {
		if url != "" {
			given++
		}
	}
	if given != 0 && given != len(c.databases()) {
		return errors.New("give DEV_TAXONOMY_DATABASE_URL, DEV_MESSAGING_DATABASE_URL, DEV_NOTIFIER_DATABASE_URL and DEV_VAULT_DATABASE_URL together, or none of them")
	}
	return nil
}

func (c Config) databases() map[string]string {
	return map[string]string{"taxonomy": c.TaxonomyDatabaseURL, "messaging": c.MessagingDatabaseURL, "notifier": c.NotifierDatabaseURL, "vault": c.VaultDatabaseURL}
}

// Development credentials. They are no secrets: the stand-ins accept no others,
// and nothing outside this process knows them.
const (
	sendGridKey = "SG.development"
	twilioSID   = "AC00000000000000000000000000000000"
	twilioToken = "development"
	fromEmail   = "ne-pas-repondre@messagerie.example.org"
	fromPhone   = "+33639980000"
	siteAddress = "messagerie.example.org"
)

// readyTimeout bounds the wait for the services to be ready.
const readyTimeout = 60 * time.Second

// Stack is the running system.
type Stack struct {
	cfg Config
	// Web, HTTP, GRPC, OIDC, Inbox and NATS are where things are.
	Web, HTTP, GRPC, OIDC, Inbox, NATS string
	// Mailbox is the stand-in, for whoever wants to look without HTTP.
	Mailbox *inbox.Inbox

	lock      *os.File
	listeners map[string]net.Listener
	database  *localpg.Cluster
	urls      map[string]string
	broker    *server.Server
	provider  *oidc.Provider
	machines  map[string]auth.MachineConfig
	keyset    string
	webKey    string

	cancel   context.CancelFunc
	services *errgroup.Group
	helpers  *errgroup.Group
	endBack  context.CancelFunc
	stop     func() error
}

// Start starts everything and returns when the gateway is ready. Call Stop.
func Start(ctx context.Context, cfg Config) (*Stack, error) {
	s := &Stack{cfg: cfg, listeners: make(map[string]net.Listener), urls: cfg.databases()}
	s.stop = sync.OnceValue(s.stopOnce)
	steps := []func(context.Context) error{s.openState, s.listen, s.startDatabase, s.startBroker, s.startStandIns, s.startServices, s.awaitReady}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return nil, errors.Join(err, s.Stop())
		}
	}
	return s, nil
}

// listen takes every port before anything is started, so that a taken one is
// told at once.
func (s *Stack) listen(ctx context.Context) error {
	ports := []struct {
		name, addr, setting string
		at                  *string
	}{
		{"web", s.cfg.WebAddr, "DEV_WEB_ADDR", &s.Web},
		{"http", s.cfg.HTTPAddr, "DEV_HTTP_ADDR", &s.HTTP},
		{"grpc", s.cfg.GRPCAddr, "DEV_GRPC_ADDR", &s.GRPC},
		{"oidc", s.cfg.OIDCAddr, "DEV_OIDC_ADDR", &s.OIDC},
		{"inbox", s.cfg.InboxAddr, "DEV_INBOX_ADDR", &s.Inbox},
		{"nats", s.cfg.NATSAddr, "DEV_NATS_ADDR", &s.NATS},
		{"taxonomy", "127.0.0.1:0", "", new(string)},
		{"messaging", "127.0.0.1:0", "", new(string)},
		{"notifier", "127.0.0.1:0", "", new(string)},
	}
	var faults []error
	for _, p := range ports {
		lis, err := chassis.Listen(ctx, p.addr, p.setting)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		s.listeners[p.name], *p.at = lis, lis.Addr().String()
	}
	return errors.Join(faults...)
}

func (s *Stack) addr(name string) string { return s.listeners[name].Addr().String() }

// startDatabase starts the private PostgreSQL unless URLs were given. As root,
// missing binaries are installed.
func (s *Stack) startDatabase(ctx context.Context) error {
	if s.urls["messaging"] != "" {
		return nil
	}
	opts := localpg.Options{Dir: s.path("postgres"), Durable: true}
	var err error
	s.database, err = localpg.Start(ctx, opts)
	if errors.Is(err, localpg.ErrNoBinaries) && os.Geteuid() == 0 {
		fmt.Fprintln(os.Stderr, "installing PostgreSQL with apt-get …")
		if err := localpg.Install(ctx); err != nil {
			return err
		}
		s.database, err = localpg.Start(ctx, opts)
	}
	if err != nil {
		return err
	}
	for name := range s.urls {
		if err := s.database.CreateDatabase(ctx, name); err != nil {
			return err
		}
		s.urls[name] = s.database.URL(name)
	}
	return nil
}

// startBroker starts NATS with JetStream on disk, which has what it acknowledges.
func (s *Stack) startBroker(context.Context) error {
	// The server opens its port by itself; until here, the listener kept it.
	port := s.listeners["nats"].Addr().(*net.TCPAddr)
	s.listeners["nats"].Close()
	broker, err := server.NewServer(&server.Options{
		ServerName: "development", Host: port.IP.String(), Port: port.Port,
		JetStream: true, StoreDir: s.path("nats"), SyncAlways: true, NoLog: true, NoSigs: true,
	})
	if err != nil {
		return fmt.Errorf("starting the broker: %w", err)
	}
	s.broker = broker
	broker.Start()
	if !broker.ReadyForConnections(10 * time.Second) {
		return fmt.Errorf("the broker does not answer on %s", port)
	}
	return nil
}

// startStandIns starts the OIDC provider and the inbox. They end after the
// services, which need them to the last.
func (s *Stack) startStandIns(context.Context) error {
	var err error
	s.provider, err = oidc.New(oidc.Config{BaseURL: "http://" + s.OIDC, StateDir: s.path("oidc"), WebURLs: s.webURLs()})
	if err != nil {
		return err
	}
	s.machines = make(map[string]auth.MachineConfig)
	for _, id := range []string{"messaging", "notifier"} {
		if s.machines[id], err = s.provider.Machine(id); err != nil {
			return err
		}
	}
	s.Mailbox, err = inbox.New(inbox.Config{
		StateDir: s.path("inbox"), APIKey: sendGridKey, TwilioSID: twilioSID, TwilioToken: twilioToken,
		SendGridWebhook: "http://" + s.HTTP + "/webhooks/sendgrid",
	})
	if err != nil {
		return err
	}
	back, endBack := context.WithCancel(context.Background())
	s.endBack, s.helpers = endBack, &errgroup.Group{}
	for name, handler := range map[string]http.Handler{"oidc": s.provider, "inbox": s.Mailbox} {
		srv := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
		// Whoever they serve has ended before them: nothing is worth a drain.
		context.AfterFunc(back, func() { _ = srv.Close() })
		s.helpers.Go(func() error {
			if err := srv.Serve(s.listeners[name]); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serving the %s stand-in: %w", name, err)
			}
			return nil
		})
	}
	return nil
}

// startServices runs the four services and the front end. The first that fails ends the others.
func (s *Stack) startServices(ctx context.Context) error {
	ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	group, ctx := errgroup.WithContext(ctx)
	s.services = group
	run := func(name string, service func(context.Context) error) {
		group.Go(func() error {
			if err := chassis.UnlessStopped(ctx, service(ctx)); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
	}
	run("taxonomy", func(ctx context.Context) error { return taxonomy.Run(ctx, s.taxonomyConfig()) })
	run("messaging", func(ctx context.Context) error { return messaging.Run(ctx, s.messagingConfig()) })
	run("notifier", func(ctx context.Context) error { return notifier.Run(ctx, s.notifierConfig()) })
	run("web", func(ctx context.Context) error { return web.Run(ctx, s.webConfig()) })
	run("gateway", func(ctx context.Context) error { return gateway.Run(ctx, s.gatewayConfig()) })
	return nil
}

// awaitReady asks the gateway until it is ready, or a service has failed.
func (s *Stack) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	failed := make(chan error, 1)
	go func() { failed <- s.services.Wait() }()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	client := &http.Client{Timeout: time.Second}
	for {
		last := ready(ctx, client, "http://"+s.HTTP+"/readyz")
		if last == nil {
			return nil
		}
		select {
		case err := <-failed:
			return fmt.Errorf("a service ended while starting: %w", err)
		case <-ctx.Done():
			return fmt.Errorf("waiting for the gateway: %w", last)
		case <-ticker.C:
		}
	}
}

func ready(ctx context.Context, client *http.Client, url string) error {
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
		return fmt.Errorf("%s answers %s", url, resp.Status)
	}
	return nil
}

// Token returns a bearer token of a persona.
func (s *Stack) Token(persona string) (string, error) { return s.provider.Token(persona) }

// DatabaseURL is how to connect to a service's database.
func (s *Stack) DatabaseURL(service string) string { return s.urls[service] }

// Inside is where a service answers the others, past the gateway.
func (s *Stack) Inside(service string) string { return s.addr(service) }

// Wait returns when a service has ended by itself, with its fault.
func (s *Stack) Wait() error { return s.services.Wait() }

// Stop drains the services and then ends what they stand on. Nothing is left
// running, whatever had been started. Stopping again changes nothing.
func (s *Stack) Stop() error { return s.stop() }

func (s *Stack) stopOnce() error {
	var faults []error
	if s.services != nil {
		s.cancel()
		faults = append(faults, s.services.Wait())
	}
	if s.helpers != nil {
		s.endBack()
		faults = append(faults, s.helpers.Wait())
	}
	if s.Mailbox != nil {
		faults = append(faults, s.Mailbox.Close())
	}
	if s.broker != nil {
		s.broker.Shutdown()
		s.broker.WaitForShutdown()
	}
	if s.database != nil {
		faults = append(faults, s.database.Stop())
	}
	for _, lis := range s.listeners {
		lis.Close()
	}
	if s.lock != nil {
		s.lock.Close()
	}
	return errors.Join(faults...)
}

// Places are the addresses that a journey needs.
func (s *Stack) Places() journey.Places {
	return journey.Places{Web: "http://" + s.Web, Gateway: "http://" + s.HTTP, OIDC: "http://" + s.OIDC, Inbox: "http://" + s.Inbox}
}
