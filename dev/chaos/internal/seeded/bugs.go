package seeded

// All are the bugs there are, by the promise that they break.
var All = []Bug{
	// A submission is answered before its transaction has committed.
	{"answer-before-commit", "messaging dies", []edit{
		{submission, "at, err := s.committer.Submit(ctx, sub.submission)", `_, err := s.committer.Enqueue(context.WithoutCancel(ctx), sub.submission)
	at := time.Now()`},
	}},
	// The relay deletes from the outbox, commits, and then publishes.
	{"delete-before-publish", "broker dies", []edit{
		{relay, "var last uuid.UUID", "var last uuid.UUID\nvar early []Row"},
		{relay, "return r.publish(pass, rows)", "early = rows\nreturn verdict{acked: idsOf(rows)}"},
		{relay, "r.refused.learn(result)\n\t\tif", "r.publish(ctx, early)\nr.refused.learn(result)\nif"},
	}},
	// The relay takes an event that the broker did not acknowledge for published.
	{"swallowed-publish-error", "broker dies", []edit{
		{relay, "range r.bus.Publish(ctx, events) {", "range r.bus.Publish(ctx, events) {\nerr = nil"},
	}},
	// A consumer acknowledges a batch before it is handled.
	{"ack-before-commit", "database dies", []edit{
		{"chassis/bus/consumer.go", "fault := within(ctx, ackWait", `for _, d := range batch {
		_ = d.raw.DoubleAck(ctx)
	}
	fault := within(ctx, ackWait`},
	}},
	// The provider is called while an event is taken in, before anything about it is stored.
	{"send-inside-ingest", "notifiers die", []edit{
		{"services/notifier/notifier.go", "&ingest{", "&ingest{lanes: lanes, "},
		{ingest, "type ingest struct {", "type ingest struct {\nlanes []*lane"},
		{ingest, "added, err := in.ledger.Plan(", "sendNow(ctx, in.lanes, plans)\nadded, err := in.ledger.Plan("},
		{"services/notifier/send_inside_ingest.go", "", sendNow},
		{"services/notifier/internal/ledger/send_inside_ingest.go", "", takeAsSent},
	}},
	// The ledger does not recognise an event that comes twice; it trusts the broker's duplicate
	// window.
	{"dedupe-by-broker-only", "store rolls back", []edit{
		{ingest, "plans := make([]ledger.Plan", "id = uuid.New()\nplans := make([]ledger.Plan"},
	}},
	// The outcome of an attempt is recorded whoever has the delivery by then.
	{"no-fencing", "notifiers freeze", []edit{
		{record, "WHEN d.state NOT IN ('sending', 'unknown') THEN d.state", "WHEN false THEN d.state"},
		{record, "IN ('retry', 'unknown') AND d.state IN ('sending', 'unknown')", "IN ('retry', 'unknown')"},
		{record, "d.attempt_id = o.attempt_id AND d.state IN", "d.state IN"},
	}},
	// Replaying dead letters sends again what was accepted.
	{"replay-ignores-ledger", "operator replays", []edit{
		{"services/notifier/internal/ledger/replay.go", "FROM `+deadDeliveries+` AS letter", "FROM (SELECT event_id AS id, updated_at AS ended_at, * FROM delivery) AS letter"},
	}},
	// Leases go by each process's own clock, which is MESSAGERIE_CLOCK_SKEW (a duration) off.
	{"process-clock", "nothing happens", []edit{
		{claim, "next_attempt_at <= LEAST(now(), $4)", "next_attempt_at <= COALESCE('`+processClock()+`', LEAST(now(), $4))"},
		{claim, "lease_until = now()", "lease_until = timestamptz '`+processClock()+`'"},
		{"services/notifier/internal/ledger/sweep.go", "lease_until <= LEAST(now(), $4)", "lease_until <= COALESCE('`+processClock()+`', LEAST(now(), $4))"},
		{"services/notifier/internal/ledger/process_clock.go", "", processClock},
	}},
	// A call whose end is not known is repeated as if it had certainly not been taken.
	{"unknown-is-not-sent", "answers are lost", []edit{
		{"services/notifier/internal/provider/call.go", "case !left:", "case true:"},
	}},
	// Connections to a primary that has become a standby are kept.
	{"former-primary", "database fails over", []edit{
		{connection, "if writes(cfg) && cfg.ValidateConnect == nil {", "if false {"},
		{connection, "if !writes(cfg.ConnConfig) {", "if true {"},
		{connection, "if only {", "if false {"},
	}},
	// The relay waits for the database as long as it takes.
	{"waits-for-ever", "connections freeze", []edit{
		{relay, "r.store.relay(pass, ", "r.store.relay(context.WithoutCancel(ctx), "},
	}},
	// The relay forgets an event that the broker refuses while it takes others.
	{"refused-is-dropped", "replies are refused", []edit{
		{relay, "return refuse(ctx, tx, result.refused)", "ids, _ := columnsOf(result.refused)\n_, err := tx.Exec(ctx, `DELETE FROM outbox WHERE id = ANY($1)`, ids)\nreturn err"},
	}},
	// Up to where the ledger is complete is believed although it is still to come.
	{"mark-never-goes-back", "clock goes back", []edit{
		{"services/notifier/internal/ledger/reconciliation.go", "WHERE settled_until > now() RETURNING", "WHERE false RETURNING"},
	}},
	// When the database's clock leaps ahead, leases and waits are over.
	{"leap-is-believed", "clock leaps ahead", []edit{
		{"services/notifier/internal/ledger/clock.go", "leapLeast = 5 * time.Second", "leapLeast = 10_000 * time.Hour"},
	}},
	// Watches are notified that anything may have changed only while there is no connection to the broker.
	{"connected-is-working", "events do not flow", []edit{
		{"services/messaging/internal/watch/hub.go", "if !h.watched() {\n\t\treturn false", "if true {\nreturn false"},
	}},
	// A value that the service draws and that is in use is not drawn again.
	{"drawn-once", "references are lost", []edit{
		{submission, "try < drawTries", "try < 1"},
	}},
}

// Files that several bugs are in.
const (
	submission = "services/messaging/submission.go"
	relay      = "services/messaging/internal/outbox/relay.go"
	ingest     = "services/notifier/ingest.go"
	record     = "services/notifier/internal/ledger/record.go"
	claim      = "services/notifier/internal/ledger/claim.go"
	connection = "chassis/postgres/connection.go"
)

// sendNow calls the providers about plans of which nothing is stored yet, and stores them as
// accepted.
const sendNow = `package notifier

import (
	"context"
	"slices"

	"github.com/ma-messagerie/messagerie/services/notifier/internal/ledger"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/provider"
)

func sendNow(ctx context.Context, lanes []*lane, plans []ledger.Plan) {
	for _, p := range plans {
		l := lanes[slices.Index(ledger.Channels, p.Channel)]
		d := ledger.Delivery{
			EventID: p.EventID, Channel: p.Channel, EventType: p.EventType, ConversationID: p.ConversationID,
			Attempts: 1, OccurredAt: p.LoggedAt, ClaimedAt: p.LoggedAt,
		}
		found, err := l.fetch(ctx, []ledger.Delivery{d})
		if err != nil || l.send(ctx, job{delivery: d, recipient: found[p.ConversationID]}).Class != provider.Accepted {
			continue
		}
		if _, err := l.ledger.Plan(ctx, []ledger.Plan{p}); err == nil {
			_ = l.ledger.TakeAsSent(ctx, p)
		}
	}
}
`

// takeAsSent records that a planned delivery was sent, which nobody has claimed.
const takeAsSent = "package ledger\n" + `
import "context"

func (l *Ledger) TakeAsSent(ctx context.Context, p Plan) error {
	_, err := l.pool.Exec(ctx, "UPDATE delivery SET state = 'accepted', next_attempt_at = NULL WHERE event_id = $1 AND channel = $2 AND state = 'planned'", p.EventID, p.Channel)
	return err
}
`

// processClock is the process's clock.
const processClock = `package ledger

import (
	"os"
	"time"
)

func processClock() string {
	skew, err := time.ParseDuration(os.Getenv("MESSAGERIE_CLOCK_SKEW"))
	if err != nil {
		panic(err)
	}
	return time.Now().Add(skew).UTC().Format(time.RFC3339Nano)
}
`
