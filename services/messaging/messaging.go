// Package messaging keeps the conversations between members and the fund: it
// stores what a member submits, lets agents answer, and publishes what happened.
//
// # What is promised
//
// A submission or a reply that was answered with success is stored, readable until its term
// has passed (package upkeep), and will be published: one transaction writes the conversation,
// its message, the event log and the outbox (package outbox). The same idempotency key never makes two.
// Losing the broker, for hours or for good, refuses no submission and loses no
// event. Losing the database's host loses nothing only if PostgreSQL commits to a
// synchronous standby.
//
// Submissions that arrive together are committed together (see committer), and so
// are agents' changes (package change), so that a commit's price is shared.
//
// Messages, notes, drafts and contact points are encrypted before they reach the database
// (package vault), and are in no event, log line, trace or metric. A member's query is
// always limited to that member; another's conversation is not found.
//
// Expensive reads have connections and bounds of their own (package reports): statistics,
// lists and exports make no member wait.
//
// # When it breaks
//
// While the database is away, or can only be read, calls answer UNAVAILABLE. A caller
// that got no answer tries again with the same key. While the taxonomy service is away, the
// last version seen goes on (package taxonomy). Until a first one was seen, the health of
// the gRPC port is NOT_SERVING.
package messaging

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/ma-messagerie/messagerie/chassis"
	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/bus"
	"github.com/ma-messagerie/messagerie/chassis/contact"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/report"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/agent"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/change"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/draft"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/member"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/operator"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/outbox"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/reference"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/reports"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/statistics"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/taxonomy"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/template"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/upkeep"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/vault"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/watch"
	"github.com/ma-messagerie/messagerie/services/messaging/migrations"
)

// Migrations are the schema of the service's database.
var Migrations fs.FS = migrations.Files

// VaultMigrations are the schema of the vault's database.
var VaultMigrations = vault.Migrations

// Config is read from MESSAGING_*.
type Config struct {
	chassis.Process
	rpc.ServerConfig
	auth.Config
	// MachineConfig is this service's identity towards the taxonomy service.
	auth.MachineConfig
	// Bus is the broker: MESSAGING_NATS_*.
	Bus bus.Config `envPrefix:"NATS_"`

	// DatabaseURL is PostgreSQL, as postgres://… or key=value pairs.
	DatabaseURL string `env:"DATABASE_URL,required"`
	// VaultURL is the vault's database, another one of PostgreSQL, which has the keys of
	// members. Who loses it loses every text; who keeps its backups longer than a few days
	// keeps what members have had erased.
	VaultURL string `env:"VAULT_URL,required"`
	// Migrate brings both schemas up to date at start. Without it, a schema older
	// than the binary ends the process.
	Migrate bool `env:"MIGRATE" envDefault:"true"`
	// TaxonomyAddr is the gRPC target of the taxonomy service.
	TaxonomyAddr string `env:"TAXONOMY_ADDR" envDefault:"dns:///taxonomy:9090"`
	// TaxonomyRefresh is how often the current version is asked for.
	TaxonomyRefresh time.Duration `env:"TAXONOMY_REFRESH" envDefault:"5s"`
	// KeysetPath is a file with a tink AEAD key set in JSON, which wraps the keys in the
	// vault. It is read again every ten seconds, and what it has then takes effect if it
	// fits the vault. Who loses it loses every text.
	KeysetPath string `env:"KEYSET_PATH"`
	// KeysetEvery replaces the ten seconds, for tests.
	KeysetEvery time.Duration
	// Keyset is the key set itself, instead: it stays until the next start. Give it as a
	// file with MESSAGING_KEYSET_FILE.
	Keyset string `env:"KEYSET"`
	// KeysetKEK is a key in a KMS, as tink's URI: hcvault://host:port/transit/keys/name, of
	// HashiCorp's Vault or OpenBao. The key set is then tink's encrypted JSON, and opened by
	// a call of the KMS, at the start and when its file changes. Empty: it is not encrypted.
	KeysetKEK string `env:"KEYSET_KEK"`
	// KeysetKEKToken is this service's token there; give it as a file with
	// MESSAGING_KEYSET_KEK_TOKEN_FILE.
	KeysetKEKToken string `env:"KEYSET_KEK_TOKEN"`
	// ClaimLease is how long an agent holds a conversation without renewing.
	ClaimLease time.Duration `env:"CLAIM_LEASE" envDefault:"15m"`
	// AgentNames is the form in which members read the names of agents: full ("Claire
	// Bernard"), initial ("Claire B.") or service, the name of the service in charge. A member
	// has a right to the full name unless public safety forbids it (CRPA, L111-2).
	AgentNames conversation.Names `env:"AGENT_NAMES" envDefault:"full"`
	// SMSCountries are the countries whose mobile numbers members can choose, and to which SMS are
	// sent: two letters of ISO 3166-1 each. The provider must reach them.
	SMSCountries contact.Countries `env:"SMS_COUNTRIES" envDefault:"FR,GP,MQ,GF,RE,YT,PM,BL,MF,NC,PF,WF"`
	// DefaultCaisse is the caisse of members whose token names none that can be one. Empty
	// refuses them.
	DefaultCaisse string `env:"DEFAULT_CAISSE"`
	// EventDomain is the domain, of the fund or of who runs the system, that types and
	// sources of events begin with (CloudEvents: reversed in types).
	EventDomain string `env:"EVENT_DOMAIN" envDefault:"ma-messagerie.org"`
	// RelayPoll is how often the outbox is looked at for what other processes
	// left; this process's own commits are relayed at once.
	RelayPoll time.Duration `env:"RELAY_POLL" envDefault:"1s"`
	// EventLogRetention is how long the event log keeps an event, in whole days;
	// at least 15 days, one more than the broker does. 0 keeps all.
	EventLogRetention time.Duration `env:"EVENT_LOG_RETENTION" envDefault:"9600h"`
	// ConversationRetention is how long a conversation that has ended is kept after the last
	// that happened in it, with its messages, notes and, when it was their last one, its
	// member, unless the taxonomy gives its reason a term of its own; at least 366 days, five
	// years by default. 0 keeps all of these: the term is the fund's to set, by its plan for
	// records.
	ConversationRetention time.Duration `env:"CONVERSATION_RETENTION" envDefault:"43824h"`
	// AuditRetention is how long it is kept who of the fund saw or did what, at least 30
	// days; a year unless a longer term has a reason (CNIL, recommendation 2021-122). 0
	// keeps all.
	AuditRetention time.Duration `env:"AUDIT_RETENTION" envDefault:"8784h"`
	// ErasureRetention is how long the ids of erased keys are remembered, so that a
	// database that is restored from before erases again: as long as any backup of
	// messaging's database is kept; at least 30 days. 0 keeps all.
	ErasureRetention time.Duration `env:"ERASURE_RETENTION" envDefault:"9600h"`
	// Reports bounds what reads much: MESSAGING_REPORTS_*. Max are the statistics and
	// operators' questions at once, and as many lists and exports beside them; the
	// database gets twice as many connections for both.
	Reports report.Config `envPrefix:"REPORTS_"`
}

// minRetention is above what anybody may still ask the event log for.
const minRetention = 15 * 24 * time.Hour

// Validate reports all faults that types do not show.
func (c Config) Validate() error {
	faults := []error{c.Check(), c.MTLS.Validate(), c.Reports.Validate(), postgres.CheckURL("DATABASE_URL", c.DatabaseURL), postgres.CheckURL("VAULT_URL", c.VaultURL)}
	faults = append(faults, c.checkKeyset()...)
	if c.DefaultCaisse != "" && !conversation.ValidCaisse(c.DefaultCaisse) {
		faults = append(faults, fmt.Errorf("DEFAULT_CAISSE %q is not lower-case letters, digits and hyphens, at most 64", c.DefaultCaisse))
	}
	if !validDomain(c.EventDomain) {
		faults = append(faults, fmt.Errorf("EVENT_DOMAIN %q is not a domain in lower case, such as messagerie.example.org", c.EventDomain))
	}
	if c.EventLogRetention != 0 && c.EventLogRetention < minRetention {
		faults = append(faults, fmt.Errorf("EVENT_LOG_RETENTION must be 0 or at least %s", minRetention))
	}
	if c.ConversationRetention != 0 && c.ConversationRetention < upkeep.LeastConversation {
		faults = append(faults, fmt.Errorf("CONVERSATION_RETENTION must be 0 or at least %s", upkeep.LeastConversation))
	}
	if c.AuditRetention != 0 && c.AuditRetention < upkeep.LeastAudit {
		faults = append(faults, fmt.Errorf("AUDIT_RETENTION must be 0 or at least %s", upkeep.LeastAudit))
	}
	if c.ErasureRetention != 0 && c.ErasureRetention < vault.LeastRemembered {
		faults = append(faults, fmt.Errorf("ERASURE_RETENTION must be 0 or at least %s", vault.LeastRemembered))
	}
	for name, d := range map[string]time.Duration{"CLAIM_LEASE": c.ClaimLease, "RELAY_POLL": c.RelayPoll, "TAXONOMY_REFRESH": c.TaxonomyRefresh} {
		if d <= 0 {
			faults = append(faults, fmt.Errorf("%s must be more than 0", name))
		}
	}
	return errors.Join(faults...)
}

// checkKeyset returns what is wrong with the key set's settings. A KMS is not called.
func (c Config) checkKeyset() (faults []error) {
	if (c.Keyset == "") == (c.KeysetPath == "") {
		faults = append(faults, errors.New("exactly one of KEYSET_PATH and KEYSET is required"))
	} else if c.KeysetKEK == "" {
		_, err := c.openKeyset(vault.OpenKeyset)
		faults = append(faults, err)
	}
	if c.KeysetKEK != "" {
		if err := vault.CheckKEK(c.KeysetKEK); err != nil {
			faults = append(faults, fmt.Errorf("KEYSET_KEK %w", err))
		}
	}
	if (c.KeysetKEK == "") != (c.KeysetKEKToken == "") {
		faults = append(faults, errors.New("KEYSET_KEK and KEYSET_KEK_TOKEN go together"))
	}
	return faults
}

// opener is how the key set is read.
func (c Config) opener() (func(content string) (*vault.Keyset, error), error) {
	if c.KeysetKEK == "" {
		return vault.OpenKeyset, nil
	}
	kek, err := vault.OpenKEK(c.KeysetKEK, c.KeysetKEKToken)
	if err != nil {
		return nil, err
	}
	return kek.OpenKeyset, nil
}

// openKeyset reads the key set from where it is given.
func (c Config) openKeyset(open func(content string) (*vault.Keyset, error)) (*vault.Keyset, error) {
	if c.KeysetPath != "" {
		return vault.ReadKeyset(c.KeysetPath, open)
	}
	return open(c.Keyset)
}

// NewKeyset returns a new key set for Config.Keyset. Whoever loses it loses every text.
func NewKeyset() (string, error) { return vault.NewKeyset() }

// Run serves until ctx is done, then drains: calls under way are answered, what
// they stored is relayed if the broker is there, and the rest stays in the
// outbox.
func Run(ctx context.Context, cfg Config) error {
	pool, err := postgres.OpenSchema(ctx, cfg.DatabaseURL, Migrations, cfg.Migrate)
	if err != nil {
		return err
	}
	defer postgres.Close(pool)
	vaultPool, err := postgres.OpenSchema(ctx, cfg.VaultURL, VaultMigrations, cfg.Migrate)
	if err != nil {
		return err
	}
	defer postgres.Close(vaultPool)
	reportPool, err := postgres.Open(ctx, cfg.DatabaseURL, postgres.Reports(reports.Connections(cfg.Reports), cfg.Reports.WithDefaults().Timeout))
	if err != nil {
		return err
	}
	defer postgres.Close(reportPool)
	events, err := bus.Connect("messaging", cfg.Bus, stream())
	if err != nil {
		return err
	}
	defer events.Close()
	secured, err := cfg.MTLS.Client()
	if err != nil {
		return err
	}
	taxonomy, err := rpc.Dial(cfg.TaxonomyAddr, cfg.TokenSource(), secured)
	if err != nil {
		return err
	}
	defer taxonomy.Close()
	return serve(ctx, cfg, pool, vaultPool, reportPool, events, taxonomypb.NewCatalogueServiceClient(taxonomy))
}

// serve builds the parts and runs them. Servers stop first, then the committer,
// then the relay, so that each still has what it depends on.
func serve(ctx context.Context, cfg Config, pool, vaultPool, reportPool *pgxpool.Pool, events *bus.Bus, source taxonomypb.CatalogueServiceClient) error {
	open, err := cfg.opener()
	if err != nil {
		return err
	}
	keyset, err := cfg.openKeyset(open)
	if err != nil {
		return err
	}
	keys := vault.New(vault.Config{DB: vaultPool, Data: pool, Keyset: keyset, KeysetPath: cfg.KeysetPath, KeysetEvery: cfg.KeysetEvery, OpenKeyset: open, Remember: cfg.ErasureRetention})
	if err := postgres.AtStart(ctx, keys.CheckKeyset); err != nil {
		return fmt.Errorf("checking the key set: %w", err)
	}
	s := newStore(pool)
	reportLimits, err := reports.New(reportPool, cfg.Reports)
	if err != nil {
		return err
	}
	defer reportLimits.Close()
	journal := outbox.New(pool)
	relay := outbox.NewRelay(journal, events, cfg.EventDomain, cfg.RelayPoll)
	counts, err := newInstruments(pool, reportPool, relay.Begin, keys)
	if err != nil {
		return err
	}
	defer counts.stop()
	counts.begin(ctx)
	commits := newCommitter(s, relay.Wake, counts.batchSizes)
	hints := watch.NewHints(events)
	acts := change.New(pool, keys, relay.Wake, hints, counts.changeSizes)
	versions := taxonomy.New(source, pool, cfg.TaxonomyRefresh)
	if err := postgres.AtStart(ctx, versions.Load); err != nil {
		return err
	}
	verifier := auth.NewVerifier(cfg.Config)
	grpcServer, err := rpc.NewServer(cfg.ServerConfig, verifier)
	if err != nil {
		return err
	}
	grpcServer.HoldUntil(versions.Known())
	hub := watch.NewHub(pool, events, hints, relay.Begin)
	keep := conversation.Retention(cfg.ConversationRetention)
	view := conversation.View{Retention: keep, Names: cfg.AgentNames}
	drafts := draft.New(pool, keys)
	memberCalls := member.New(member.Config{DB: pool, Reports: reportLimits, Vault: keys, Drafts: drafts, Taxonomy: versions, Hints: hints, View: view, Texted: cfg.SMSCountries, Wake: relay.Wake})
	// Before anything is answered, however long it takes.
	var again []uuid.UUID
	if err := postgres.AtStart(ctx, func(ctx context.Context) (err error) { again, err = keys.Reconcile(ctx); return err }); err != nil {
		return err
	}
	if err := memberCalls.EraseAgain(ctx, again); err != nil {
		return err
	}
	members := &server{
		Drafts: drafts, Members: memberCalls, store: s, reports: reportLimits, vault: keys, taxonomy: versions, committer: commits, changes: acts,
		references: reference.New(pool), counts: counts, hub: hub, hints: hints, defaultCaisse: cfg.DefaultCaisse, view: view,
	}
	agents := &agent.Server{
		Templates: &template.Templates{DB: pool, Taxonomy: versions}, Statistics: &statistics.Statistics{Reports: reportLimits}, AgentDrafts: draft.NewOfAgents(pool, keys),
		DB: pool, Reports: reportLimits, Vault: keys, Taxonomy: versions, Changes: acts, Hub: hub, Hints: hints, ClaimLease: cfg.ClaimLease, View: view,
	}
	operators := &operator.Server{DB: pool, Reports: reportLimits, Broker: events, Vault: keys, Begin: relay.Begin, Keep: keep}
	keeping := &upkeep.Upkeep{
		DB: pool, Vault: keys, Conversations: keep, Erasures: cfg.ErasureRetention, Audit: cfg.AuditRetention, EventLog: cfg.EventLogRetention, Purged: counts.purged,
	}
	if err := postgres.AtStart(ctx, keeping.FillKinds); err != nil {
		return err
	}
	grpcServer.Translate(refusalOf)
	members.checkWhole(grpcServer)
	drafts.CheckWhole(grpcServer)
	memberCalls.CheckWhole(grpcServer)
	agents.CheckWhole(grpcServer)
	operators.CheckWhole(grpcServer)
	grpcServer.Redeem(watch.NewTickets(pool).Redeem)
	messagingpb.RegisterMessagingServiceServer(grpcServer, members)
	messagingpb.RegisterAgentServiceServer(grpcServer, agents)
	messagingpb.RegisterOperatorServiceServer(grpcServer, operators)
	messagingpb.RegisterRecipientServiceServer(grpcServer, members)
	messagingpb.RegisterEventLogServiceServer(grpcServer, &eventLogServer{log: journal, retention: cfg.EventLogRetention})

	admin := &chassis.Admin{}
	admin.Check("database", func(ctx context.Context) error { return postgres.Writable(ctx, pool) })
	admin.Mention("vault", keys.Reachable)
	admin.Check("issuers", verifier.Ready)
	admin.Check("taxonomy", func(context.Context) error {
		if versions.Number() == 0 {
			return errors.New("no version seen yet")
		}
		return nil
	})
	// The broker is no condition: without it, submissions go on.

	// Each stage outlives the one before it.
	back, endBack := context.WithCancel(context.WithoutCancel(ctx))
	defer endBack()
	group, front := errgroup.WithContext(ctx)
	stages, stageCtx := errgroup.WithContext(back)
	stages.Go(func() error { commits.Run(stageCtx); return nil })
	stages.Go(func() error { acts.Run(stageCtx); return nil })
	stages.Go(func() error { memberCalls.Run(stageCtx); return nil })
	stages.Go(func() error { return keys.Run(stageCtx) })
	stages.Go(func() error { memberCalls.KeepReconciled(stageCtx); return nil })
	stages.Go(func() error { return versions.Run(stageCtx) })
	stages.Go(func() error { events.Prepare(stageCtx); return nil })
	stages.Go(func() error { return relay.Run(stageCtx) })
	stages.Go(func() error { return hints.Run(stageCtx) })
	stages.Go(func() error { return keeping.Run(stageCtx) })
	stages.Go(func() error { return admin.Serve(stageCtx, cfg.AdminAddr) })
	group.Go(func() error {
		return admin.Linger(front, cfg.DrainDelay, func(ctx context.Context) error { return grpcServer.Serve(ctx, cfg.DrainTimeout) })
	})
	group.Go(func() error { return hub.Run(front) })
	group.Go(func() error { return failWith(front, stageCtx) })
	frontErr := group.Wait()
	endBack()
	return errors.Join(frontErr, stages.Wait())
}

func stream() bus.Stream {
	return bus.Stream{
		Name: eventspb.StreamName, Subjects: []string{eventspb.SubjectPrefix + ">"},
		MaxAge: eventspb.MaxAge, DuplicateWindow: eventspb.DuplicateWindow,
	}
}

// failWith ends the front when a stage behind it has failed.
func failWith(front, stage context.Context) error {
	select {
	case <-front.Done():
		return nil
	case <-stage.Done():
		return errors.New("a background task has ended")
	}
}
