// Package notifier tells members by e-mail and SMS what happened to their
// messages: an acknowledgement of each submission and the announcement of each reply by
// both, an SMS as its member wishes when it would leave.
//
// # What is promised
//
// Each (event, channel) is accepted by a provider at least once, or ends in a
// state that says why not (guarantee G2 of the design). Accepted means that the
// provider has queued the message, not that a person has it.
//
// It is accepted exactly once (G3) even if a provider took it without our knowing, because
// its answer was lost or this process died before recording it: before anything in doubt
// is sent again, AmbiguityWait passes, in which the provider may report that it has it, and
// then the provider is asked. The exceptions:
//   - a delivery in doubt about which no report comes in time and nobody can be
//     asked (SendGrid.Activity, Twilio.Lookup) is sent again and may be a duplicate,
//     an SMS at most once;
//   - a provider that after AmbiguityWait has not reported and does not yet list
//     what it took, or lists it in a way that we do not recognise, gets it again. We
//     recognise an e-mail by the delivery's id, and an SMS by its number and exact
//     words: an account that redacts or changes bodies, a number corrected or a
//     template changed in between hide it. Twilio is asked by the day of sending,
//     which an SMS that still queues may not have.
//
// Every event that was committed is planned, whatever becomes of the broker (G4):
// see reconciler. What ended without reaching anybody is listed until somebody
// replays or drops it: see [ledger.DeadLetter].
//
// # How
//
// Ingest and sending are apart, and between them is a ledger in PostgreSQL with
// one row for each (event, channel). Ingest puts rows into it in one transaction
// for each batch of events, and only then acknowledges the batch; an event that
// comes again finds its rows there. Senders work from the ledger alone, so the
// broker may be away, slow or wiped while they do.
//
// A sender leases a row, counting the attempt, commits, calls the provider
// without holding a connection to the database, and records the outcome under
// the attempt's id: who comes after another sender's claim changes nothing.
// Leases and schedules go by the database's clock.
//
//	              claim                    accepted, refused, suppressed
//	planned ────────────────▶ sending ────────────────▶ (end), also found
//	               ▲  ▲          │  │
//	       due     │  │   due    │  │ answer lost, lease lapsed, look-up failed
//	   ┌───────────┘  └──────┐   │  └───────────────▶ unknown ──┐
//	   │                     └───┼────────────────────────┘     │ time is up
//	 retry ◀─────────────────────┘ certainly not sent           ▼
//	   └────────────────────────────────────────────────────▶ expired
//
// What decides a repeat is whether the provider may have taken the message. If
// it certainly has not (no connection, request not wholly written, 429, 500,
// 503), it is sent again on the retry calendar. If it may have (time-out or cut
// after the request was written, 502, 504, a lapsed lease), it waits AmbiguityWait
// and the provider is then asked, as before every later attempt. What it has is
// recorded as accepted. What it does not have is sent. If it does not answer,
// nothing is sent and it is asked again on the calendar, until the delivery's time
// is up. Where nobody reports about SMS and nobody can be asked, one is repeated on
// one such doubt only. Refused credentials are nobody's
// failed attempt: the delivery waits and the log says so. While most calls to a
// provider fail, or it has asked for a pause, it is not called, and no attempts are counted
// (see [provider.Gate]). An e-mail that SendGrid certainly did not take goes to an SMTP
// server in the same attempt, if there is one.
//
// A provider's signed report ends every wait and doubt about its delivery, and moves
// it on from accepted to delivered, bounced or complained (see internal/webhook).
//
// E-mails are tried for 72 hours, SMS for 4. All SMS but fresh acknowledgements leave at the
// hours of SMSHours where the number lives; the wait for these is not counted (see Hours).
// Contact points are fetched from the messaging service when a batch is sent, held until it
// has left, and written nowhere.
//
// # When it breaks
//
// Without PostgreSQL nothing is sent; events wait in the broker. Without the
// messaging service nothing is sent; rows wait, without losing an attempt.
// Without the broker events are found in the event log, half a minute later.
// A kill -9 leaves at most twice Workers deliveries for each channel whose fate is
// not known: those being sent and those claimed next. After the lease and
// AmbiguityWait they are looked up, and sent if they had not arrived. A PostgreSQL
// restored from a backup repeats what was sent since, unasked.
package notifier

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
	"google.golang.org/grpc"

	"github.com/ma-messagerie/messagerie/chassis"
	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/bus"
	"github.com/ma-messagerie/messagerie/chassis/contact"
	"github.com/ma-messagerie/messagerie/chassis/plain"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	reports "github.com/ma-messagerie/messagerie/chassis/report"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	notifierpb "github.com/ma-messagerie/messagerie/proto/messagerie/notifier/v1"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/ledger"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/letter"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/provider"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/webhook"
	"github.com/ma-messagerie/messagerie/services/notifier/migrations"
)

type (
	// SendGrid is the e-mail provider's part of Config.
	SendGrid = provider.SendGrid
	// SMTP is the relay's part of Config.
	SMTP = provider.SMTP
	// Twilio is the SMS provider's part of Config.
	Twilio = provider.Twilio
)

// Migrations is the schema of the notifier's database.
var Migrations fs.FS = migrations.Files

// Config is the notifier's configuration, NOTIFIER_*.
type Config struct {
	chassis.Process
	rpc.ServerConfig
	auth.Config
	// MachineConfig is this service's identity towards the messaging service.
	auth.MachineConfig
	// Bus is the broker: NOTIFIER_NATS_*.
	Bus bus.Config `envPrefix:"NATS_"`
	// SendGrid sends the e-mails: NOTIFIER_SENDGRID_*.
	SendGrid SendGrid `envPrefix:"SENDGRID_"`
	// SMTP sends the e-mails that SendGrid certainly did not take: NOTIFIER_SMTP_*.
	SMTP SMTP `envPrefix:"SMTP_"`
	// Twilio sends the SMS: NOTIFIER_TWILIO_*.
	Twilio Twilio `envPrefix:"TWILIO_"`

	// DatabaseURL is PostgreSQL, as postgres://… or key=value pairs.
	DatabaseURL string `env:"DATABASE_URL,required"`
	// Migrate brings the schema up to date at start. Without it, a schema older
	// than the binary ends the process.
	Migrate bool `env:"MIGRATE" envDefault:"true"`
	// MessagingAddr is the gRPC target of the messaging service.
	MessagingAddr string `env:"MESSAGING_ADDR" envDefault:"dns:///messaging:9090"`
	// SiteAddress is where members sign in, as they type it: a host and perhaps
	// a path, without https://, at most 60 characters. It appears in mails as
	// text, never as a link.
	SiteAddress string `env:"SITE_ADDRESS,required"`
	// Workers is the number of calls to each provider at once, 1 to 500.
	Workers int `env:"WORKERS" envDefault:"64"`
	// CallTimeout is the most a provider may take for one call.
	CallTimeout time.Duration `env:"CALL_TIMEOUT" envDefault:"10s"`
	// Lease is how long a claimed delivery is left to its sender: at least three
	// CallTimeouts. After a crash, deliveries wait that long to be noticed.
	Lease time.Duration `env:"LEASE" envDefault:"45s"`
	// AmbiguityWait is how long a delivery that may have been sent waits before
	// the provider is asked about it, or it is sent again. Shorter means sooner sent, and
	// more duplicates, as a provider may not list yet what it has just taken.
	AmbiguityWait time.Duration `env:"AMBIGUITY_WAIT" envDefault:"3m"`
	// SMSHours are the hours at which an SMS may leave, by the clocks where its number lives;
	// at others it waits for the morning. An acknowledgement leaves at any hour for ten
	// minutes. 0-24: all do.
	SMSHours Hours `env:"SMS_HOURS" envDefault:"8-20"`
	// ReconcileEvery is how often the ledger is compared with the messaging
	// service's event log, for events that the broker did not bring. 0: never,
	// and guarantee G4 is off, also afterwards for the time that the ledger has
	// forgotten meanwhile.
	ReconcileEvery time.Duration `env:"RECONCILE_EVERY" envDefault:"15s"`
	// WebhookMaxAge is how old a provider's signed report may be. Providers repeat
	// theirs for a day.
	WebhookMaxAge time.Duration `env:"WEBHOOK_MAX_AGE" envDefault:"25h"`
	// LedgerRetention is how long the ledger keeps an event with its deliveries, at least
	// 48 hours longer than messaging keeps it in its event log (EVENT_LOG_RETENTION), from
	// which it would be sent again: a shorter one ends the process as soon as messaging
	// has reported its own, at the start. 0 keeps all.
	LedgerRetention time.Duration `env:"LEDGER_RETENTION" envDefault:"9720h"`
	// InterventionRetention is how long the record of operators' actions is kept. 0 keeps all.
	InterventionRetention time.Duration `env:"INTERVENTION_RETENTION" envDefault:"8784h"`
	// Poll is how often the ledger is searched for rows that no signal announced: retries,
	// and rows planned by other processes.
	Poll time.Duration `env:"POLL" envDefault:"1s"`
	// Reports bounds operators' queries: NOTIFIER_REPORTS_*. The database gets as many
	// connections for them.
	Reports reports.Config `envPrefix:"REPORTS_"`
}

// siteAddresses are hosts with an optional path, and nothing that a mail program
// or a reader could take for more.
var siteAddresses = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]+)?(/[A-Za-z0-9/_-]*)?$`)

// leadsSomewhere reports whether browsers find a host there; on this machine, that of tests.
func leadsSomewhere(site string) bool {
	return contact.Web("https://"+site) == nil || contact.Web("http://"+site) == nil
}

var (
	senderNumbers = regexp.MustCompile(`^(?:\+[1-9][0-9]{6,14}|[0-9]{3,8})$`)
	senderNames   = regexp.MustCompile(`^[A-Za-z0-9&_.-](?:[A-Za-z0-9 &_.-]{0,9}[A-Za-z0-9&_.-])?$`)
)

// isSender reports whether Twilio takes it as the sender of an SMS: a number, a short code, or a
// name, which has a letter.
func isSender(from string) bool {
	return senderNumbers.MatchString(from) || senderNames.MatchString(from) && strings.ContainsFunc(from, unicode.IsLetter)
}

// maxFromName is the most characters of a sender's name: mail programs show less.
const maxFromName = 100

// leaseCalls is how many calls a lease must outlast: the one a claimed delivery
// waits for, its own, and one in reserve.
const leaseCalls = 3

// Validate reports all faults that types do not show.
func (c Config) Validate() error {
	faults := []error{c.Check(), c.MTLS.Validate(), c.Reports.Validate(), postgres.CheckURL("DATABASE_URL", c.DatabaseURL), checkURL("SENDGRID_BASE_URL", c.SendGrid.BaseURL), checkURL("TWILIO_BASE_URL", c.Twilio.BaseURL)}
	fault := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	faults = append(faults, c.SMTP.Validate())
	if c.Twilio.StatusCallback != "" {
		faults = append(faults, checkURL("TWILIO_STATUS_CALLBACK", c.Twilio.StatusCallback))
	}
	// What is required and missing has been reported already.
	if c.SendGrid.From != "" {
		err := contact.WrittenEmail(c.SendGrid.From)
		fault(err != nil, "SENDGRID_FROM is not an e-mail address: %v", err)
	}
	faults = append(faults, plain.Setting("SENDGRID_FROM_NAME", c.SendGrid.FromName, maxFromName))
	fault(c.Twilio.From != "" && !isSender(c.Twilio.From), "TWILIO_FROM is neither a number such as +33612345678, a short code, nor a name of 11 letters and digits at most")
	fault((c.Twilio.From == "") == (c.Twilio.MessagingServiceSID == ""), "exactly one of TWILIO_FROM and TWILIO_MESSAGING_SERVICE_SID must be set")
	fault(c.SiteAddress != "" && (len(c.SiteAddress) > 60 || !siteAddresses.MatchString(c.SiteAddress) || !leadsSomewhere(c.SiteAddress)),
		"SITE_ADDRESS %q is not a bare address such as messagerie.example.org, at most 60 characters", c.SiteAddress)
	fault(c.Workers < 1 || c.Workers > maxBatch, "WORKERS must be 1 to %d", maxBatch)
	fault(c.CallTimeout <= 0, "CALL_TIMEOUT must be more than 0")
	fault(c.Lease < leaseCalls*c.CallTimeout, "LEASE must be at least %d times CALL_TIMEOUT (%s)", leaseCalls, leaseCalls*c.CallTimeout)
	fault(c.AmbiguityWait <= 0, "AMBIGUITY_WAIT must be more than 0")
	fault(c.Poll <= 0, "POLL must be more than 0")
	fault(c.LedgerRetention != 0 && c.LedgerRetention < ledger.LeastRetention, "LEDGER_RETENTION must be 0 or at least %s", ledger.LeastRetention)
	fault(c.InterventionRetention < 0, "INTERVENTION_RETENTION must not be less than 0")
	fault(c.ReconcileEvery < 0, "RECONCILE_EVERY must not be less than 0")
	fault(c.WebhookMaxAge <= 0 || c.WebhookMaxAge > ledger.ReportLifetime/2, "WEBHOOK_MAX_AGE must be more than 0 and at most %s", ledger.ReportLifetime/2)
	if c.SendGrid.WebhookKey != "" {
		_, err := webhook.ParseKey(c.SendGrid.WebhookKey)
		fault(err != nil, "SENDGRID_WEBHOOK_KEY %v", err)
	}
	return errors.Join(faults...)
}

func checkURL(name, value string) error {
	u, err := url.Parse(value)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") || u.RawQuery != "" || strings.HasSuffix(u.Path, "/") {
		return fmt.Errorf("%s is not an http(s) address without a final slash", name)
	}
	return nil
}

// Run serves until ctx is done, then drains: no more events are taken, calls
// under way end and are recorded, what was claimed and not begun goes back.
func Run(ctx context.Context, cfg Config) error {
	pool, err := postgres.OpenSchema(ctx, cfg.DatabaseURL, Migrations, cfg.Migrate)
	if err != nil {
		return err
	}
	defer postgres.Close(pool)
	bounds := cfg.Reports.WithDefaults()
	reportPool, err := postgres.Open(ctx, cfg.DatabaseURL, postgres.Reports(bounds.Max, bounds.Timeout))
	if err != nil {
		return err
	}
	defer postgres.Close(reportPool)
	events, err := bus.Connect("notifier", cfg.Bus, bus.Stream{
		Name: eventspb.StreamName, Subjects: []string{eventspb.SubjectPrefix + ">"},
		MaxAge: eventspb.MaxAge, DuplicateWindow: eventspb.DuplicateWindow,
	})
	if err != nil {
		return err
	}
	defer events.Close()
	secured, err := cfg.MTLS.Client()
	if err != nil {
		return err
	}
	messaging, err := rpc.Dial(cfg.MessagingAddr, cfg.TokenSource(), secured)
	if err != nil {
		return err
	}
	defer messaging.Close()
	return serve(ctx, cfg, pool, reportPool, events, messaging)
}

// serve builds the parts and runs them. The recorder outlives the lanes, which
// hand it what their last calls brought.
func serve(ctx context.Context, cfg Config, pool, reportPool *pgxpool.Pool, events *bus.Bus, messaging grpc.ClientConnInterface) error {
	policy := ledger.Doubts{Wait: cfg.AmbiguityWait, Blind: !cfg.Twilio.Lookup && cfg.Twilio.StatusCallback == ""}
	deliveries := ledger.New(pool, policy)
	recipients := messagingpb.NewRecipientServiceClient(messaging)
	apart := ledger.New(reportPool, policy)
	asked, err := reports.New("operators", cfg.Reports)
	if err != nil {
		return err
	}
	defer asked.Close()
	counts, err := newInstruments(apart)
	if err != nil {
		return err
	}
	defer counts.stop()
	// hard ends what a drain may still wait for.
	hard, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	context.AfterFunc(ctx, func() { time.AfterFunc(cfg.DrainDelay+cfg.DrainTimeout, cut) })
	records := newRecorder(hard, deliveries, counts, cfg.Lease+cfg.AmbiguityWait)
	mails, mailGates, closeMails := provider.NewMails(cfg.SendGrid, cfg.SMTP, cfg.Workers, cfg.CallTimeout)
	defer closeMails()
	lanes := newLanes(cfg, mails, mailGates)
	for _, l := range lanes {
		l.ledger, l.policy, l.recipients, l.done, l.counts = deliveries, policy, recipients, records, counts
	}
	wake := func() {
		for _, l := range lanes {
			l.wake()
		}
	}
	intakeOf := &ingest{ledger: deliveries, counts: counts, wake: wake}
	kept := &terms{ledger: cfg.LedgerRetention, interventions: cfg.InterventionRetention}
	log := &reconciler{ledger: deliveries, log: messagingpb.NewEventLogServiceClient(messaging), wake: wake, counts: counts, every: cfg.ReconcileEvery, terms: kept}
	verifier := auth.NewVerifier(cfg.Config)
	hooks, err := webhook.New(deliveries, cfg.SendGrid.WebhookKey, cfg.Twilio, cfg.WebhookMaxAge)
	if err != nil {
		return err
	}
	grpcServer, err := newServer(cfg, verifier, &server{ledger: deliveries, apart: apart, asked: asked, maxAge: cfg.Reports.MaxAge, recipients: recipients, wake: wake, broker: events, lanes: lanes}, hooks)
	if err != nil {
		return err
	}
	admin := &chassis.Admin{}
	admin.Check("database", func(ctx context.Context) error { return postgres.Writable(ctx, pool) })
	admin.Check("issuers", verifier.Ready)
	// Readiness does not depend on the broker: without it, the event log brings the events.

	// The stores outlive those that give them work: the lanes with their last outcomes, the
	// server with its last reports.
	storing, endStoring := context.WithCancel(context.WithoutCancel(ctx))
	var stores sync.WaitGroup
	defer stores.Wait()
	defer endStoring()
	stores.Go(func() { records.outcomes.Run(storing) })
	stores.Go(func() { hooks.Run(storing) })
	group, running := errgroup.WithContext(ctx)
	group.Go(func() error { return admin.Serve(running, cfg.AdminAddr) })
	group.Go(func() error {
		return admin.Linger(running, cfg.DrainDelay, func(ctx context.Context) error { return grpcServer.Serve(ctx, cfg.DrainTimeout) })
	})
	group.Go(func() error { events.Prepare(running); return nil })
	group.Go(func() error { return events.Consume(running, intake, intakeOf.take) })
	group.Go(func() error { sweep(running, deliveries, counts, cfg.Poll); return nil })
	group.Go(func() error { postgres.Forget(running, kept.of(deliveries)...); return nil })
	if cfg.ReconcileEvery > 0 {
		group.Go(func() error { return log.run(running) })
	} else {
		kept.agreed.Store(true) // nothing is sent again
	}
	for _, l := range lanes {
		group.Go(func() error { l.run(running); return nil })
	}
	return group.Wait()
}

// newServer is the gRPC side: the timeline, the dead letters and the webhooks.
func newServer(cfg Config, verifier *auth.Verifier, impl *server, hooks *webhook.Server) (*rpc.Server, error) {
	// A set of reports is larger than what the other services take.
	s, err := rpc.NewServer(cfg.ServerConfig, verifier, grpc.MaxRecvMsgSize(maxReportBytes))
	if err != nil {
		return nil, err
	}
	rpc.AlsoCheck(s, func(_ context.Context, req *notifierpb.ReplayDeadLettersRequest) []rpc.Violation {
		_, err := replayFilter(req)
		return rpc.FaultsOf(err)
	})
	rpc.AlsoCheck(s, func(_ context.Context, req *notifierpb.DropDeadLetterRequest) []rpc.Violation {
		_, _, err := parseLetterID(req.GetId())
		return rpc.FaultsOf(err)
	})
	notifierpb.RegisterNotifierServiceServer(s, impl)
	notifierpb.RegisterAgentServiceServer(s, &agentServer{server: impl})
	notifierpb.RegisterOperatorServiceServer(s, &operatorServer{server: impl})
	notifierpb.RegisterWebhookServiceServer(s, hooks)
	return s, nil
}

// maxReportBytes is above the largest body that the gateway passes on.
const maxReportBytes = 1<<20 + 4096

// newLanes returns a lane for each channel, in the order of channels.
func newLanes(cfg Config, mails provider.Mailer, mailGates []*provider.Gate) []*lane {
	words := letter.Composer{Site: cfg.SiteAddress}
	texts, textGate := provider.NewTexts(cfg.Twilio, cfg.Workers, cfg.CallTimeout)
	lanes := []*lane{
		{channel: ledger.Email, provider: provider.NameSendGrid, deliver: byMail(mails, words), gates: mailGates},
		{channel: ledger.SMS, provider: provider.NameTwilio, deliver: byText(texts, words), gates: []*provider.Gate{textGate}},
	}
	for _, l := range lanes {
		l.workers, l.lease, l.callTimeout, l.poll, l.hours = cfg.Workers, cfg.Lease, cfg.CallTimeout, cfg.Poll, cfg.SMSHours
		l.woken, l.faults = make(chan struct{}, 1), rate.Sometimes{Interval: 10 * time.Second}
	}
	return lanes
}

// sweepTimeout bounds one look for lapsed leases, and one adding up of what waits.
const sweepTimeout = 10 * time.Second

// bounded asks the database something in that time.
func bounded[T any](ctx context.Context, timeout time.Duration, ask func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return ask(ctx)
}

// sweep looks for lapsed leases and ended lifetimes until ctx is done.
func sweep(ctx context.Context, deliveries *ledger.Ledger, counts *instruments, poll time.Duration) {
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	fold := rate.Sometimes{Interval: ledger.FoldEvery}
	for {
		done, err := bounded(ctx, sweepTimeout, deliveries.Sweep)
		counts.swept(ctx, done)
		fold.Do(func() {
			_, fault := bounded(ctx, sweepTimeout, func(ctx context.Context) (struct{}, error) { return struct{}{}, deliveries.Fold(ctx) })
			err = errors.Join(err, fault)
		})
		if err != nil && ctx.Err() == nil {
			slog.WarnContext(ctx, "sweeping", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
