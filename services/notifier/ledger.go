package notifier

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/seeded"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/provider"
)

//go:embed migrations
var migrationFiles embed.FS

// Migrations is the schema of the notifier's database.
var Migrations = mustSub(migrationFiles, "migrations")

func mustSub(files embed.FS, dir string) fs.FS {
	sub, err := fs.Sub(files, dir)
	if err != nil {
		panic(err) // embedded
	}
	return sub
}

// channel is a way to reach a member.
type channel string

const (
	byEmail channel = "EMAIL"
	bySMS   channel = "SMS"
)

// channels are all of them.
var channels = []channel{byEmail, bySMS}

// eventType is what a delivery is about.
type eventType string

const (
	messageSubmitted eventType = "message-submitted"
	replyPosted      eventType = "reply-posted"
)

// state is where a delivery stands.
type state string

const (
	planned    state = "planned"    // never tried
	sending    state = "sending"    // leased to a sender
	retry      state = "retry"      // certainly not sent; to be tried again
	unknown    state = "unknown"    // perhaps sent; waits before the provider is asked, or it is sent again
	accepted   state = "accepted"   // a provider took it
	refused    state = "refused"    // a provider refused it for good
	expired    state = "expired"    // its time ran out
	suppressed state = "suppressed" // nobody to send it to, or nothing to send
	delivered  state = "delivered"  // accepted, and reported to have arrived
	bounced    state = "bounced"    // accepted, and reported to have been given back
	complained state = "complained" // delivered, and reported as unwanted
)

// Lifetimes of a delivery. A late e-mail still serves, so its time runs from
// when it was planned, and an outage of the broker takes nothing from it. An SMS
// only confirms what has just happened, so its time runs from then.
const (
	emailLifetime = 72 * time.Hour
	smsLifetime   = 4 * time.Hour
)

// Reasons that the ledger itself gives.
const (
	reasonLapsed  = "LEASE_LAPSED"     // the sender died or was cut off
	reasonUnknown = "OUTCOME_UNKNOWN"  // expired, and may have been sent
	reasonLate    = "NOT_SENT_IN_TIME" // expired, and was not sent
)

// plan is a delivery to be made.
type plan struct {
	event        uuid.UUID
	channel      channel
	kind         eventType
	conversation uuid.UUID
	caisse       string
	logged       time.Time // in the sender's log; zero: now
	traceparent  string
}

// delivery is a row that was claimed. Times are the database's.
type delivery struct {
	Event        uuid.UUID `db:"event_id"`
	Channel      channel   `db:"channel"`
	Kind         eventType `db:"event_type"`
	Conversation uuid.UUID `db:"conversation_id"`
	Attempt      uuid.UUID `db:"attempt_id"`
	// Attempts counts this one.
	Attempts    int       `db:"attempts"`
	Unknowns    int       `db:"unknowns"`
	Occurred    time.Time `db:"occurred_at"`
	Claimed     time.Time `db:"updated_at"`
	Traceparent string    `db:"trace_context"`
}

// id is what a provider's reports carry: enough to find the row, and nothing
// about anybody.
func (d delivery) id() string { return d.Event.String() + "." + string(d.Channel) }

// outcome is what became of a claimed delivery.
type outcome struct {
	delivery delivery
	state    state
	// wait is how long until the next attempt, for retry and unknown.
	wait time.Duration
	// uncounted takes the attempt back: it does not move the retry calendar.
	uncounted bool
	// class names the outcome in the log of attempts; empty writes none, for a
	// delivery that was given back before anything was tried.
	class             provider.Class
	provider          string
	status            int
	providerMessageID string
	reason            string
}

// ledger is every statement of this service. Leases and schedules go by the
// database's clock alone, so that senders may disagree about the time; a leap of it
// ends no wait (wallClock).
type ledger struct {
	pool   *pgxpool.Pool
	doubts doubts
	clock  wallClock
}

// Plan adds the deliveries that the ledger does not have and returns how many.
// All or none are stored. Planning again changes nothing, however often and from
// wherever: this is where an event that comes twice becomes one delivery.
func (l *ledger) Plan(ctx context.Context, plans []plan) (int64, error) {
	return l.add(ctx, plans, false)
}

// PlanMissing is Plan for what was found in the sender's log and not in the ledger, whenever
// that was: what the ledger may have forgotten meanwhile is not planned.
func (l *ledger) PlanMissing(ctx context.Context, plans []plan) (int64, error) {
	return l.add(ctx, plans, true)
}

func (l *ledger) add(ctx context.Context, plans []plan, found bool) (int64, error) {
	var events, conversations []uuid.UUID
	var ways, kinds, caisses, traces []string
	var logged []*time.Time
	for _, p := range plans {
		events, conversations = append(events, p.event), append(conversations, p.conversation)
		ways, kinds = append(ways, string(p.channel)), append(kinds, string(p.kind))
		caisses, traces = append(caisses, p.caisse), append(traces, p.traceparent)
		at := &p.logged
		if p.logged.IsZero() {
			at = nil
		}
		logged = append(logged, at)
	}
	// One order for everybody, or two instances that are given the same events
	// would wait for each other. The lock waits for who forgets just now, and has others
	// wait with it: what they forget afterwards is still there.
	tag, err := l.pool.Exec(ctx, `
		WITH gone AS MATERIALIZED (SELECT until FROM forgotten FOR SHARE)
		INSERT INTO delivery (event_id, channel, event_type, conversation_id, caisse, next_attempt_at, logged_at, occurred_at, expires_at, trace_context)
		SELECT p.event_id, p.channel, p.event_type, p.conversation_id, p.caisse, now(), COALESCE(p.logged_at, now()), at.occurred,
		       CASE p.channel WHEN 'SMS' THEN at.occurred + $8::interval ELSE now() + $9::interval END, p.trace_context
		FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::text[], $6::timestamptz[], $7::text[])
		     AS p (event_id, channel, event_type, conversation_id, caisse, logged_at, trace_context),
		     LATERAL (SELECT LEAST(COALESCE(p.logged_at, now()), now()) AS occurred) AS at
		WHERE NOT $10 OR NOT EXISTS (SELECT FROM gone WHERE until >= COALESCE(p.logged_at, now()))
		ORDER BY p.event_id, p.channel
		ON CONFLICT DO NOTHING`,
		events, ways, kinds, conversations, caisses, logged, traces, smsLifetime, emailLifetime, found)
	if err != nil {
		return 0, fmt.Errorf("planning %d deliveries: %w", len(plans), err)
	}
	return tag.RowsAffected(), nil
}

// Claim leases up to n due deliveries of a channel to the caller, the longest
// due first. No other caller gets them until the lease lapses; the attempt is
// counted before it is made, so that a sender that dies at each attempt still
// moves along the calendar.
func (l *ledger) Claim(ctx context.Context, way channel, n int, lease time.Duration) ([]delivery, error) {
	rows, err := l.pool.Query(ctx, `
		WITH due AS (
			SELECT event_id, channel FROM delivery
			WHERE channel = $1 AND state IN ('planned', 'retry', 'unknown') AND next_attempt_at <= COALESCE($4, LEAST(now(), $5)) AND expires_at > now()
			ORDER BY next_attempt_at LIMIT $2
			FOR UPDATE SKIP LOCKED)
		UPDATE delivery AS d
		SET state = 'sending', attempts = attempts + 1, attempt_id = gen_random_uuid(),
		    lease_until = COALESCE($4, now()) + $3::interval, next_attempt_at = NULL, updated_at = now()
		FROM due WHERE d.event_id = due.event_id AND d.channel = due.channel
		RETURNING d.event_id, d.channel, d.event_type, d.conversation_id, d.attempt_id, d.attempts, d.unknowns,
		          d.occurred_at, d.updated_at, d.trace_context`,
		way, n, lease, wrongClock(), l.clock.latest(time.Now()))
	if err != nil {
		return nil, fmt.Errorf("claiming deliveries: %w", err)
	}
	claimed, err := pgx.CollectRows(rows, pgx.RowToStructByName[delivery])
	if err != nil {
		return nil, fmt.Errorf("claiming deliveries: %w", err)
	}
	return claimed, nil
}

// Record stores outcomes and returns those that came too late: the lease had
// lapsed and the delivery has been claimed again since. They enter the log of
// attempts and change nothing else.
//
// An outcome that comes after the lease lapsed but before the next claim is
// still believed: it says what was unknown. One that comes after a provider's
// report about the delivery is logged and changes no state: the report knows more.
func (l *ledger) Record(ctx context.Context, outcomes []outcome) (late []outcome, err error) {
	if len(outcomes) == 0 {
		return nil, nil
	}
	var fenced []uuid.UUID
	err = postgres.Again(ctx, func() (err error) { fenced, err = l.record(ctx, outcomes); return err })
	if err != nil {
		return nil, fmt.Errorf("recording %d outcomes: %w", len(outcomes), err)
	}
	for _, o := range outcomes {
		if slices.Contains(fenced, o.delivery.Attempt) {
			late = append(late, o)
		}
	}
	return late, nil
}

// record returns the attempts whose outcomes came too late.
func (l *ledger) record(ctx context.Context, outcomes []outcome) ([]uuid.UUID, error) {
	rows, err := l.pool.Query(ctx, `
		WITH done AS (
			SELECT * FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[], $5::interval[], $6::boolean[], $7::text[],
			                     $8::text[], $9::integer[], $10::text[], $11::text[], $12::timestamptz[])
			AS o (event_id, channel, attempt_id, state, wait, uncounted, outcome, provider, http_status, provider_message_id, reason, started_at)
		), locked AS MATERIALIZED ( -- in one order for everybody
			SELECT d.event_id, d.channel FROM delivery AS d JOIN done USING (event_id, channel)
			ORDER BY d.event_id, d.channel FOR UPDATE OF d
		), applied AS (
			UPDATE delivery AS d
			SET state = CASE WHEN d.state NOT IN ('sending', 'unknown') AND NOT $13 THEN d.state -- a report came first
			                 WHEN o.state = 'retry' AND o.uncounted AND d.attempts = 1 THEN 'planned' ELSE o.state END,
			    attempts = d.attempts - o.uncounted::integer,
			    -- A look-up that failed has sent nothing: no doubt is added.
			    unknowns = d.unknowns + (o.state = 'unknown' AND d.state = 'sending' AND o.outcome <> 'lookup_failed')::integer,
			    lease_until = NULL,
			    next_attempt_at = CASE WHEN o.state IN ('retry', 'unknown') AND (d.state IN ('sending', 'unknown') OR $13)
			                           -- Claimed in a time to come: what it is to wait for was computed by a clock that has gone back.
			                           THEN LEAST(d.expires_at, now() + CASE WHEN o.state = 'retry' AND o.started_at > now() THEN '0' ELSE o.wait END) END,
			    provider = CASE o.provider WHEN '' THEN d.provider ELSE o.provider END,
			    provider_message_id = CASE o.provider_message_id WHEN '' THEN d.provider_message_id ELSE o.provider_message_id END,
			    reason = CASE WHEN d.state IN ('sending', 'unknown') THEN o.reason ELSE d.reason END, updated_at = now()
			FROM done AS o JOIN locked USING (event_id, channel)
			WHERE d.event_id = o.event_id AND d.channel = o.channel AND
			      (d.attempt_id = o.attempt_id AND d.state IN ('sending', 'unknown', 'accepted', 'delivered', 'bounced', 'complained') OR $13)
			RETURNING o.attempt_id
		), logged AS (
			INSERT INTO attempt (event_id, channel, attempt_id, started_at, provider, outcome, http_status, provider_message_id, reason, applied)
			SELECT o.event_id, o.channel, o.attempt_id, o.started_at, o.provider, o.outcome, o.http_status, o.provider_message_id, o.reason,
			       o.attempt_id IN (SELECT attempt_id FROM applied)
			FROM done AS o WHERE o.outcome <> ''
		)
		SELECT attempt_id FROM done WHERE attempt_id NOT IN (SELECT attempt_id FROM applied)`,
		recordColumns(outcomes)...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
}

// recordColumns turns outcomes into the arrays of Record's statement.
func recordColumns(outcomes []outcome) []any {
	n := len(outcomes)
	events, attempts := make([]uuid.UUID, n), make([]uuid.UUID, n)
	ways, states, classes := make([]string, n), make([]string, n), make([]string, n)
	providers, ids, reasons := make([]string, n), make([]string, n), make([]string, n)
	waits, uncounted, statuses, started := make([]time.Duration, n), make([]bool, n), make([]int32, n), make([]time.Time, n)
	for i, o := range outcomes {
		events[i], attempts[i], ways[i] = o.delivery.Event, o.delivery.Attempt, string(o.delivery.Channel)
		states[i], waits[i], uncounted[i], classes[i] = string(o.state), o.wait, o.uncounted, string(o.class)
		providers[i], statuses[i], ids[i], reasons[i] = o.provider, int32(o.status), o.providerMessageID, o.reason //nolint:gosec // an HTTP status
		started[i] = o.delivery.Claimed
	}
	return []any{events, ways, attempts, states, waits, uncounted, classes, providers, statuses, ids, reasons, started, seeded.On(seeded.NoFencing)}
}

// wrongClock is nil, for the database's clock; the process's own in a test build
// that is told to trust it.
func wrongClock() *time.Time {
	if !seeded.On(seeded.ProcessClock) {
		return nil
	}
	now := time.Now().Add(seeded.Skew())
	return &now
}

// swept counts what Sweep moved.
type swept struct {
	lapsed, expired map[channel]int64
}

// Sweep ends the waits that nobody else ends. A lapsed lease becomes unknown: its
// sender may have called the provider and died before it could say so. What is
// past its time expires. Any number of processes may sweep at once.
func (l *ledger) Sweep(ctx context.Context) (swept, error) {
	done := swept{lapsed: make(map[channel]int64), expired: make(map[channel]int64)}
	if err := l.followClock(ctx); err != nil {
		return done, err
	}
	rows, err := l.pool.Query(ctx, `
		WITH lapsed AS (
			SELECT event_id, channel, attempt_id, updated_at FROM delivery
			WHERE state = 'sending' AND lease_until <= COALESCE($3, LEAST(now(), $5))
			ORDER BY lease_until LIMIT 1000 FOR UPDATE SKIP LOCKED
		), moved AS (
			UPDATE delivery AS d
			SET state = 'unknown', unknowns = unknowns + 1, lease_until = NULL, reason = $2, updated_at = now(),
			    next_attempt_at = CASE WHEN d.channel = 'SMS' AND unknowns > 0 AND $4 THEN expires_at
			                           ELSE LEAST(expires_at, now() + $1::interval) END
			FROM lapsed AS l WHERE d.event_id = l.event_id AND d.channel = l.channel)
		INSERT INTO attempt (event_id, channel, attempt_id, started_at, outcome, reason, applied)
		SELECT event_id, channel, attempt_id, updated_at, 'unknown', $2::text, true FROM lapsed
		RETURNING channel`, l.doubts.wait, reasonLapsed, wrongClock(), l.doubts.blind, l.clock.latest(time.Now()))
	if err != nil {
		return done, fmt.Errorf("sweeping lapsed leases: %w", err)
	}
	lapsed, err := pgx.CollectRows(rows, pgx.RowTo[channel])
	if err != nil {
		return done, fmt.Errorf("sweeping lapsed leases: %w", err)
	}
	for _, way := range lapsed {
		done.lapsed[way]++
	}
	if !l.clock.expiring(time.Now()) {
		return done, nil
	}
	for _, way := range channels {
		tag, err := l.pool.Exec(ctx, `
			WITH late AS (
				SELECT event_id, channel FROM delivery
				-- None waits for longer than its time, so what is past it is due.
				WHERE channel = $1 AND state IN ('planned', 'retry', 'unknown') AND expires_at <= LEAST(now(), $4)
				ORDER BY expires_at LIMIT 1000 FOR UPDATE SKIP LOCKED)
			UPDATE delivery AS d
			SET state = 'expired', reason = CASE WHEN unknowns > 0 THEN $2 ELSE $3 END, next_attempt_at = NULL, updated_at = now()
			FROM late WHERE d.event_id = late.event_id AND d.channel = late.channel`, way, reasonUnknown, reasonLate, l.clock.latest(time.Now()))
		if err != nil {
			return done, fmt.Errorf("sweeping what is past its time: %w", err)
		}
		done.expired[way] = tag.RowsAffected()
	}
	return done, nil
}

// report is what a provider says about a delivery that it has taken.
type report struct {
	provider string
	// id is the provider's own name for the report: who has it has seen it.
	id      string
	event   uuid.UUID
	channel channel
	// state is accepted, delivered, bounced or complained.
	state     state
	messageID string
	reason    string
}

// reported counts what Report did with a set of reports.
type reported struct {
	// fresh were seen for the first time; moved of them changed a delivery's
	// state, and unmatched name a delivery that the ledger does not have.
	fresh, moved, unmatched int
	// traces are the trace contexts of the deliveries that fresh reports are about,
	// by the id of the report that says most.
	traces map[string]string
}

// Report stores reports and moves their deliveries on. A report that was stored
// before does nothing. States only go forward, accepted, delivered, bounced,
// complained, in whatever order reports come: a mail may bounce after it was
// delivered, and none is delivered after it bounced. Any report proves that the
// provider took the delivery, so it ends every wait, doubt and lease.
func (l *ledger) Report(ctx context.Context, reports []report) (done reported, err error) {
	n := len(reports)
	providers, ids, messages, reasons := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	events, ways, states := make([]uuid.UUID, n), make([]string, n), make([]string, n)
	for i, r := range reports {
		providers[i], ids[i], messages[i], reasons[i] = r.provider, r.id, r.messageID, r.reason
		events[i], ways[i], states[i] = r.event, string(r.channel), string(r.state)
	}
	err = postgres.Again(ctx, func() error {
		return l.pool.QueryRow(ctx, `
		WITH given AS (
			SELECT DISTINCT ON (provider, report_id) *, array_position('{accepted,delivered,bounced,complained}'::text[], state) AS rank
			FROM unnest($1::text[], $2::text[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[])
			     AS r (provider, report_id, event_id, channel, state, message_id, reason)
			ORDER BY provider, report_id
		), fresh AS (
			INSERT INTO report (provider, report_id, event_id, channel, state, reason)
			SELECT provider, report_id, event_id, channel, state, reason FROM given ORDER BY provider, report_id
			ON CONFLICT DO NOTHING RETURNING provider, report_id
		), last AS (
			SELECT DISTINCT ON (event_id, channel) given.* FROM given JOIN fresh USING (provider, report_id)
			ORDER BY event_id, channel, rank DESC
		), locked AS ( -- in one order for everybody
			SELECT d.event_id, d.channel, d.trace_context FROM delivery AS d JOIN last USING (event_id, channel)
			ORDER BY d.event_id, d.channel FOR UPDATE OF d
		), moved AS (
			UPDATE delivery AS d
			SET state = last.state, lease_until = NULL, next_attempt_at = NULL, reason = last.reason, provider = last.provider,
			    provider_message_id = CASE d.provider_message_id WHEN '' THEN last.message_id ELSE d.provider_message_id END, updated_at = now()
			FROM last JOIN locked USING (event_id, channel)
			WHERE d.event_id = last.event_id AND d.channel = last.channel
			  AND last.rank > COALESCE(array_position('{accepted,delivered,bounced,complained}'::text[], d.state), 0)
			RETURNING d.event_id
		)
		SELECT (SELECT count(*) FROM fresh), (SELECT count(*) FROM moved),
		       (SELECT count(*) FROM last WHERE (event_id, channel) NOT IN (SELECT event_id, channel FROM locked)),
		       (SELECT COALESCE(jsonb_object_agg(report_id, trace_context), '{}') FROM last JOIN locked USING (event_id, channel) WHERE trace_context <> '')`,
			providers, ids, events, ways, states, messages, reasons).Scan(&done.fresh, &done.moved, &done.unmatched, &done.traces)
	})
	if err != nil {
		return done, fmt.Errorf("storing %d reports: %w", n, err)
	}
	return done, nil
}

// Fresh tells whether a time, in seconds since 1970, is at most maxAge ago and
// not in the future, by the database's clock and give or take five minutes.
func (l *ledger) Fresh(ctx context.Context, at int64, maxAge time.Duration) (fresh bool, err error) {
	err = l.pool.QueryRow(ctx, `SELECT to_timestamp($1) BETWEEN now() - $2::interval AND now() + interval '5 minutes'`, at, maxAge).Scan(&fresh)
	if err != nil {
		return false, fmt.Errorf("reading the clock: %w", err)
	}
	return fresh, nil
}

// stand is a delivery as its timeline shows it.
type stand struct {
	Event    uuid.UUID `db:"event_id"`
	Channel  channel   `db:"channel"`
	Kind     eventType `db:"event_type"`
	State    state     `db:"state"`
	Reason   string    `db:"reason"`
	Occurred time.Time `db:"occurred_at"`
	Updated  time.Time `db:"updated_at"`
}

// Timeline returns deliveries of a conversation, oldest first, from behind a place on; nil
// is the beginning.
func (l *ledger) Timeline(ctx context.Context, conversation uuid.UUID, after *letterKey, limit int) ([]stand, error) {
	args := pgx.NamedArgs{"conversation": conversation, "limit": limit}
	from := ``
	if after != nil {
		from = ` AND (occurred_at, event_id, channel) > (@at, @event, @channel)`
		args["at"], args["event"], args["channel"] = after.ended, after.id, after.channel
	}
	rows, err := l.pool.Query(ctx, `
		SELECT event_id, channel, event_type, state, reason, occurred_at, updated_at FROM delivery
		WHERE conversation_id = @conversation`+from+` ORDER BY occurred_at, event_id, channel LIMIT @limit`, args)
	if err != nil {
		return nil, fmt.Errorf("reading a timeline: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[stand])
	if err != nil {
		return nil, fmt.Errorf("reading a timeline: %w", err)
	}
	return list, nil
}

// setAside is an event that could not be read.
type setAside struct {
	messageID, kind, traceparent string
	payload                      []byte
	occurred                     time.Time // zero: not known
	reason                       string
}

// SetAside keeps an event that could not be read, once.
func (l *ledger) SetAside(ctx context.Context, e setAside) error {
	var at *time.Time
	if !e.occurred.IsZero() {
		at = &e.occurred
	}
	_, err := l.pool.Exec(ctx, `
		INSERT INTO set_aside (message_id, type, payload, trace_context, occurred_at, reason) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT DO NOTHING`, e.messageID, e.kind, e.payload, e.traceparent, at, e.reason)
	if err != nil {
		return fmt.Errorf("setting an event aside: %w", err)
	}
	return nil
}

// deadLetter is a delivery that ended without reaching anybody, or an event that
// could not be read.
type deadLetter struct {
	ID           uuid.UUID  `db:"id"`
	Channel      string     `db:"channel"` // of a delivery; EVENT for an event
	Kind         string     `db:"kind"`
	Conversation *uuid.UUID `db:"conversation_id"`
	Caisse       string     `db:"caisse"`
	State        state      `db:"state"`
	Reason       string     `db:"reason"`
	Provider     string     `db:"provider"`
	Attempts     int32      `db:"attempts"`
	Occurred     *time.Time `db:"occurred_at"`
	Ended        time.Time  `db:"ended_at"`
}

// eventLetter stands where the channel is, for events.
const eventLetter = "EVENT"

// isDeadLetter is literally the predicate of the index delivery_dead_letter, and what
// backlog_kind (migration 00005) tells.
const isDeadLetter = `state IN ('refused', 'expired', 'bounced', 'suppressed') AND dropped_at IS NULL
	   AND (state <> 'suppressed' OR reason IN ('` + reasonEmailInvalid + `', '` + reasonPhoneInvalid + `', '` + reasonNobody + `', '` + reasonRender + `'))`

// A member whom there is no way to reach is no dead letter: nothing went wrong.
const (
	deadDeliveries = `(SELECT event_id AS id, channel, event_type AS kind, conversation_id, caisse, state, reason, provider, attempts,
		occurred_at, updated_at AS ended_at FROM delivery WHERE ` + isDeadLetter + `)`
	deadEvents = `(SELECT id, '` + eventLetter + `' AS channel, type AS kind, NULL::uuid AS conversation_id, '' AS caisse, '' AS state, reason, '' AS provider, 0 AS attempts,
		occurred_at, set_aside_at AS ended_at FROM set_aside WHERE ended_at IS NULL)`
)

// deadLetters is a relation of the first, in an order, of those that a condition selects.
// An index gives each of the two kinds in that order; as many of each are merged.
func (f letterFilter) deadLetters(where, order string) string {
	var kinds []string
	for kind, wanted := range map[string]bool{deadDeliveries: f.channel != eventLetter, deadEvents: !f.deliveries && (f.channel == "" || f.channel == eventLetter)} {
		if wanted {
			kinds = append(kinds, `(SELECT * FROM `+kind+` AS letter WHERE `+where+` ORDER BY `+order+` LIMIT @limit)`)
		}
	}
	if len(kinds) == 0 { // events of a channel
		kinds = append(kinds, `(SELECT * FROM `+deadEvents+` AS letter WHERE false)`)
	}
	slices.Sort(kinds) // one text for each question
	return `(SELECT * FROM (` + strings.Join(kinds, ` UNION ALL `) + `) AS letter ORDER BY ` + order + ` LIMIT @limit) AS letter`
}

const (
	newestFirst = `ended_at DESC, id DESC, channel DESC`
	oldestFirst = `ended_at, id, channel`
)

// deadOf is one of the kinds: whether it is that of events.
var deadOf = map[bool]string{true: deadEvents, false: deadDeliveries}

// letterFilter selects dead letters; empty fields select all.
type letterFilter struct {
	// ids, if any, are those wanted, with their channels beside them.
	ids      []uuid.UUID
	channels []string
	// channel is a channel or eventLetter; deliveries leaves out events.
	channel          string
	deliveries       bool
	reason, provider string
	from, before     *time.Time
}

func (f letterFilter) where() (string, pgx.NamedArgs) {
	args := pgx.NamedArgs{}
	where := `true`
	narrow := func(wanted bool, condition, name string, value any) {
		if wanted {
			where += ` AND ` + condition
			args[name] = value
		}
	}
	narrow(f.ids != nil, `(id, channel) IN (SELECT * FROM unnest(@ids::uuid[], @channels::text[]))`, "ids", f.ids)
	args["channels"] = f.channels
	narrow(f.channel != "", `channel = @channel`, "channel", f.channel)
	narrow(f.deliveries, `channel <> @event`, "event", eventLetter)
	narrow(f.reason != "", `reason = @reason`, "reason", f.reason)
	narrow(f.provider != "", `provider = @provider`, "provider", f.provider)
	narrow(f.from != nil, `ended_at >= @from`, "from", f.from)
	narrow(f.before != nil, `ended_at < @before`, "before", f.before)
	return where, args
}

// letterKey is where a page of dead letters begins: after this one.
type letterKey struct {
	ended   time.Time
	id      uuid.UUID
	channel string
}

// DeadLetters returns a page, newest first.
func (l *ledger) DeadLetters(ctx context.Context, f letterFilter, after *letterKey, limit int) ([]deadLetter, error) {
	where, args := f.where()
	if after != nil {
		where += ` AND (ended_at, id, channel) < (@afterEnded, @afterID, @afterChannel)`
		args["afterEnded"], args["afterID"], args["afterChannel"] = after.ended, after.id, after.channel
	}
	args["limit"] = limit
	rows, err := l.pool.Query(ctx, `SELECT * FROM `+f.deadLetters(where, newestFirst)+` ORDER BY `+newestFirst, args)
	if err != nil {
		return nil, fmt.Errorf("listing dead letters: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[deadLetter])
	if err != nil {
		return nil, fmt.Errorf("listing dead letters: %w", err)
	}
	return list, nil
}

// CountDeadLetters returns how many a filter selects, up to replayMost of them. Their numbers
// are kept, by kind and by day: only named ones, and those of a part of a day, are counted.
func (l *ledger) CountDeadLetters(ctx context.Context, f letterFilter) (n int32, err error) {
	var question string
	where, args := f.where()
	switch {
	case f.ids != nil:
		question = `SELECT count(*) FROM ` + f.deadLetters(where, oldestFirst)
	case f.from == nil && f.before == nil:
		question = `SELECT LEAST(COALESCE(sum(n), 0), @limit)::integer FROM ` + deadLetters.kept() + ` WHERE ` + where
	default:
		from, first, last, before := f.days()
		f.from, f.before = nil, nil
		where, args = f.where()
		args["from"], args["first"], args["last"], args["before"] = from, first, last, before
		if last.Before(first) { // within a day
			question = `SELECT count(*) FROM ` + f.deadLetters(where+` AND ended_at >= @from AND ended_at < @before`, oldestFirst)
			break
		}
		question = `SELECT LEAST(sum(n), @limit)::integer FROM (
			SELECT COALESCE(sum(n), 0) AS n FROM ` + deadDays.kept() + ` WHERE ` + where + `
			   AND day >= (@first::timestamptz AT TIME ZONE 'UTC')::date AND day < (@last::timestamptz AT TIME ZONE 'UTC')::date
			UNION ALL SELECT count(*) FROM ` + f.deadLetters(where+` AND ended_at >= @from AND ended_at < @first`, oldestFirst) + `
			UNION ALL SELECT count(*) FROM ` + f.deadLetters(where+` AND ended_at >= @last AND ended_at < @before`, oldestFirst) + `) AS part`
	}
	args["limit"] = replayMost
	err = l.pool.QueryRow(ctx, question, args).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("counting dead letters: %w", err)
	}
	return n, nil
}

// days are the bounds of a filter's time, and those of the whole days (UTC) within it: last
// is before first where it lies within one day.
func (f letterFilter) days() (from, first, last, before time.Time) {
	const day = 24 * time.Hour
	from, before = time.Unix(0, 0).UTC(), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
	if f.from != nil && f.from.After(from) {
		from = f.from.UTC()
	}
	if f.before != nil && f.before.Before(before) {
		before = f.before.UTC()
	}
	if first = from.Truncate(day); first.Before(from) {
		first = first.Add(day)
	}
	return from, first, before.Truncate(day), before
}

// replayMost bounds one replay of each kind.
const replayMost = 10_000

// Replay plans anew the deliveries among the dead letters that a filter selects.
// It goes by the ledger's own rows under their locks: one that is no dead letter
// any more, because it was replayed a moment ago or a report has come, stays as it
// is. Doubts are kept, so that the provider is asked before anything is sent that
// it may have taken.
func (l *ledger) Replay(ctx context.Context, operator string, f letterFilter) (n int32, err error) {
	f.deliveries = true
	where, args := f.where()
	letters := deadDeliveries + ` AS letter`
	if seeded.On(seeded.ReplayIgnoresLedger) {
		letters = `(SELECT event_id AS id, updated_at AS ended_at, * FROM delivery) AS letter`
	}
	args["limit"], args["operator"], args["sms"], args["email"] = replayMost, operator, smsLifetime, emailLifetime
	err = l.pool.QueryRow(ctx, `
		WITH chosen AS (
			SELECT id, channel, state AS was FROM `+letters+` WHERE `+where+` ORDER BY ended_at, id, channel LIMIT @limit
		), locked AS (
			SELECT d.event_id, d.channel FROM delivery AS d JOIN chosen ON d.event_id = chosen.id AND d.channel = chosen.channel
			WHERE d.state = chosen.was AND d.dropped_at IS NULL
			ORDER BY d.event_id, d.channel FOR UPDATE OF d
		), again AS (
			UPDATE delivery AS d
			SET state = 'planned', attempts = 0, reason = '', next_attempt_at = now(), lease_until = NULL, updated_at = now(),
			    expires_at = now() + CASE d.channel WHEN 'SMS' THEN @sms::interval ELSE @email::interval END
			FROM locked WHERE d.event_id = locked.event_id AND d.channel = locked.channel
			RETURNING d.event_id, d.channel
		), noted AS (
			INSERT INTO intervention (operator, action, target) SELECT @operator, 'replay', event_id || '.' || channel FROM again
		)
		SELECT count(*) FROM again`, args).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("replaying dead letters: %w", err)
	}
	return n, nil
}

// asideRow is an event that was set aside, to be read again.
type asideRow struct {
	ID        uuid.UUID  `db:"id"`
	MessageID string     `db:"message_id"`
	Type      string     `db:"type"`
	Payload   []byte     `db:"payload"`
	Trace     string     `db:"trace_context"`
	Occurred  *time.Time `db:"occurred_at"`
}

// AsideEvents returns the events among the dead letters that a filter selects.
func (l *ledger) AsideEvents(ctx context.Context, f letterFilter) ([]asideRow, error) {
	if f.channel != "" && f.channel != eventLetter || f.deliveries {
		return nil, nil
	}
	f.channel = eventLetter
	where, args := f.where()
	args["limit"] = replayMost
	rows, err := l.pool.Query(ctx, `
		SELECT id, message_id, type, payload, trace_context, occurred_at FROM set_aside
		WHERE id IN (SELECT id FROM `+deadEvents+` AS letter WHERE `+where+` ORDER BY ended_at, id LIMIT @limit) ORDER BY set_aside_at`, args)
	if err != nil {
		return nil, fmt.Errorf("reading events set aside: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[asideRow])
	if err != nil {
		return nil, fmt.Errorf("reading events set aside: %w", err)
	}
	return list, nil
}

// EndAside takes an event off the list: it was read after all.
func (l *ledger) EndAside(ctx context.Context, operator string, id uuid.UUID) error {
	_, err := l.pool.Exec(ctx, `
		WITH ended AS (UPDATE set_aside SET ended_at = now() WHERE id = $1 AND ended_at IS NULL RETURNING id)
		INSERT INTO intervention (operator, action, target) SELECT $2, 'replay', id || '.' || $3 FROM ended`, id, operator, eventLetter)
	if err != nil {
		return fmt.Errorf("ending event %s: %w", id, err)
	}
	return nil
}

// Drop takes a dead letter off the list for good and tells whether it was on it.
func (l *ledger) Drop(ctx context.Context, operator string, id uuid.UUID, way, note string) (bool, error) {
	change := `UPDATE delivery SET dropped_at = now(), drop_note = @note FROM chosen WHERE event_id = chosen.id AND delivery.channel = chosen.channel AND dropped_at IS NULL
		AND delivery.state IN ('refused', 'expired', 'bounced', 'suppressed') RETURNING 1`
	if way == eventLetter {
		change = `UPDATE set_aside SET ended_at = now(), note = @note FROM chosen WHERE set_aside.id = chosen.id AND ended_at IS NULL RETURNING 1`
	}
	tag, err := l.pool.Exec(ctx, `
		WITH chosen AS (SELECT id, channel FROM `+deadOf[way == eventLetter]+` AS letter WHERE id = @id AND channel = @channel), dropped AS (`+change+`)
		INSERT INTO intervention (operator, action, target, note) SELECT @operator, 'drop', @id::text || '.' || @channel::text, @note FROM dropped`,
		pgx.NamedArgs{"id": id, "channel": way, "note": note, "operator": operator})
	if err != nil {
		return false, fmt.Errorf("dropping a dead letter: %w", err)
	}
	return tag.RowsAffected() > 0, nil
}

// slotDigest stands for the events of one slot of ten seconds.
type slotDigest struct {
	Start  time.Time `db:"start"`
	Count  int64     `db:"count"`
	Digest int64     `db:"digest"`
}

// Digests returns what the ledger has of a range of the sender's log, by slots,
// in the form of EventLogService.ListDigests.
func (l *ledger) Digests(ctx context.Context, from, before time.Time) ([]slotDigest, error) {
	rows, err := l.pool.Query(ctx, `
		SELECT date_bin('10 seconds', COALESCE(logged_at, occurred_at), timestamptz 'epoch') AS start, count(*) AS count,
		       bit_xor(('x' || encode(substring(sha256(uuid_send(event_id)) for 8), 'hex'))::bit(64)::bigint) AS digest
		FROM delivery WHERE channel = 'EMAIL' AND COALESCE(logged_at, occurred_at) >= $1 AND COALESCE(logged_at, occurred_at) < $2
		GROUP BY 1 ORDER BY 1`, from, before)
	if err != nil {
		return nil, fmt.Errorf("digesting the ledger: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[slotDigest])
	if err != nil {
		return nil, fmt.Errorf("digesting the ledger: %w", err)
	}
	return list, nil
}

// unsettled is how long ago a time must be to be noted as reconciled. It is less than
// the log takes to settle, and keeps a clock that is ahead from passing for progress.
const unsettled = 30 * time.Second

// ReconciledUntil returns up to where the ledger is known to have every event; window
// ago if nobody has looked yet. A time to come was noted while a clock was ahead: it is
// taken back, or all that happens until then would pass for known.
func (l *ledger) ReconciledUntil(ctx context.Context, window time.Duration) (until time.Time, err error) {
	err = l.pool.QueryRow(ctx, `
		WITH begun AS (
			INSERT INTO reconciliation (settled_until) VALUES (now() - $1::interval) ON CONFLICT DO NOTHING RETURNING settled_until
		), cut AS (
			UPDATE reconciliation SET settled_until = now() - $2::interval, updated_at = now() WHERE settled_until > now() AND NOT $3 RETURNING settled_until
		)
		SELECT settled_until FROM (
			SELECT settled_until FROM reconciliation UNION ALL SELECT settled_until FROM begun UNION ALL SELECT settled_until FROM cut) AS noted
		ORDER BY settled_until LIMIT 1`, window, unsettled, seeded.On(seeded.MarkNeverGoesBack)).Scan(&until)
	if err != nil {
		return until, fmt.Errorf("reading how far the ledger is complete: %w", err)
	}
	return until, nil
}

// Reconciled notes that the ledger has every event before that time, or before
// unsettled ago where that is earlier. It does not go back.
func (l *ledger) Reconciled(ctx context.Context, until time.Time) error {
	_, err := l.pool.Exec(ctx, `
		UPDATE reconciliation SET settled_until = GREATEST(settled_until, LEAST($1, now() - $2::interval)), updated_at = now()`, until, unsettled)
	if err != nil {
		return fmt.Errorf("noting how far the ledger is complete: %w", err)
	}
	return nil
}

// ReconcileLag is how far the known-complete part of the ledger is behind.
func (l *ledger) ReconcileLag(ctx context.Context) (lag time.Duration, err error) {
	var seconds float64
	err = l.pool.QueryRow(ctx, `SELECT COALESCE((SELECT EXTRACT(epoch FROM now() - settled_until)::float8 FROM reconciliation), 0)`).Scan(&seconds)
	if err != nil {
		return 0, fmt.Errorf("measuring the reconciliation: %w", err)
	}
	return time.Duration(seconds * float64(time.Second)), nil
}
