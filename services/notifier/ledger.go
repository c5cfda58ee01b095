package notifier

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
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
	occurred     time.Time // zero: now
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
	class             class
	provider          string
	status            int
	providerMessageID string
	reason            string
}

// ledger is every statement of this service. Leases and schedules go by the
// database's clock alone, so that senders may disagree about the time.
type ledger struct {
	pool *pgxpool.Pool
	// ambiguityWait is how long a delivery that may have been sent waits for
	// news before it is sent again.
	ambiguityWait time.Duration
}

// Plan adds the deliveries that the ledger does not have and returns how many.
// All or none are stored. Planning again changes nothing, however often and from
// wherever: this is where an event that comes twice becomes one delivery.
func (l *ledger) Plan(ctx context.Context, plans []plan) (int64, error) {
	var events, conversations []uuid.UUID
	var ways, kinds, caisses, traces []string
	var occurred []*time.Time
	for _, p := range plans {
		events, conversations = append(events, p.event), append(conversations, p.conversation)
		ways, kinds = append(ways, string(p.channel)), append(kinds, string(p.kind))
		caisses, traces = append(caisses, p.caisse), append(traces, p.traceparent)
		at := &p.occurred
		if p.occurred.IsZero() {
			at = nil
		}
		occurred = append(occurred, at)
	}
	// One order for everybody, or two instances that are given the same events
	// would wait for each other.
	tag, err := l.pool.Exec(ctx, `
		INSERT INTO delivery (event_id, channel, event_type, conversation_id, caisse, next_attempt_at, occurred_at, expires_at, trace_context)
		SELECT p.event_id, p.channel, p.event_type, p.conversation_id, p.caisse, now(), at.occurred,
		       CASE p.channel WHEN 'SMS' THEN at.occurred + $8::interval ELSE now() + $9::interval END, p.trace_context
		FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::text[], $6::timestamptz[], $7::text[])
		     AS p (event_id, channel, event_type, conversation_id, caisse, occurred_at, trace_context),
		     LATERAL (SELECT LEAST(COALESCE(p.occurred_at, now()), now()) AS occurred) AS at
		ORDER BY p.event_id, p.channel
		ON CONFLICT DO NOTHING`,
		events, ways, kinds, conversations, caisses, occurred, traces, smsLifetime, emailLifetime)
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
			WHERE channel = $1 AND state IN ('planned', 'retry', 'unknown') AND next_attempt_at <= now() AND expires_at > now()
			ORDER BY next_attempt_at LIMIT $2
			FOR UPDATE SKIP LOCKED)
		UPDATE delivery AS d
		SET state = 'sending', attempts = attempts + 1, attempt_id = gen_random_uuid(),
		    lease_until = now() + $3::interval, next_attempt_at = NULL, updated_at = now()
		FROM due WHERE d.event_id = due.event_id AND d.channel = due.channel
		RETURNING d.event_id, d.channel, d.event_type, d.conversation_id, d.attempt_id, d.attempts, d.unknowns,
		          d.occurred_at, d.updated_at, d.trace_context`,
		way, n, lease)
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
// still believed: it says what was unknown.
func (l *ledger) Record(ctx context.Context, outcomes []outcome) (late []outcome, err error) {
	if len(outcomes) == 0 {
		return nil, nil
	}
	rows, err := l.pool.Query(ctx, `
		WITH done AS (
			SELECT * FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[], $5::interval[], $6::boolean[], $7::text[],
			                     $8::text[], $9::integer[], $10::text[], $11::text[], $12::timestamptz[])
			AS o (event_id, channel, attempt_id, state, wait, uncounted, outcome, provider, http_status, provider_message_id, reason, started_at)
		), applied AS (
			UPDATE delivery AS d
			SET state = CASE WHEN o.state = 'retry' AND o.uncounted AND d.attempts = 1 THEN 'planned' ELSE o.state END,
			    attempts = d.attempts - o.uncounted::integer,
			    -- A look-up that failed has sent nothing: no doubt is added.
			    unknowns = d.unknowns + (o.state = 'unknown' AND d.state = 'sending' AND o.outcome <> 'lookup_failed')::integer,
			    lease_until = NULL,
			    next_attempt_at = CASE WHEN o.state IN ('retry', 'unknown') THEN LEAST(d.expires_at, now() + o.wait) END,
			    provider = CASE o.provider WHEN '' THEN d.provider ELSE o.provider END,
			    provider_message_id = o.provider_message_id, reason = o.reason, updated_at = now()
			FROM done AS o
			WHERE d.event_id = o.event_id AND d.channel = o.channel AND d.attempt_id = o.attempt_id AND d.state IN ('sending', 'unknown')
			RETURNING d.attempt_id
		), logged AS (
			INSERT INTO attempt (event_id, channel, attempt_id, started_at, provider, outcome, http_status, provider_message_id, reason, applied)
			SELECT o.event_id, o.channel, o.attempt_id, o.started_at, o.provider, o.outcome, o.http_status, o.provider_message_id, o.reason,
			       o.attempt_id IN (SELECT attempt_id FROM applied)
			FROM done AS o WHERE o.outcome <> ''
		)
		SELECT attempt_id FROM done WHERE attempt_id NOT IN (SELECT attempt_id FROM applied)`,
		recordColumns(outcomes)...)
	if err != nil {
		return nil, fmt.Errorf("recording %d outcomes: %w", len(outcomes), err)
	}
	fenced, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
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
	return []any{events, ways, attempts, states, waits, uncounted, classes, providers, statuses, ids, reasons, started}
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
	// An SMS is repeated at most once on doubt: two texts are a nuisance, and
	// the e-mail says the same.
	rows, err := l.pool.Query(ctx, `
		WITH lapsed AS (
			SELECT event_id, channel, attempt_id, updated_at FROM delivery
			WHERE state = 'sending' AND lease_until <= now()
			ORDER BY lease_until LIMIT 1000 FOR UPDATE SKIP LOCKED
		), moved AS (
			UPDATE delivery AS d
			SET state = 'unknown', unknowns = unknowns + 1, lease_until = NULL, reason = $2, updated_at = now(),
			    next_attempt_at = CASE WHEN d.channel = 'SMS' AND unknowns > 0 THEN expires_at
			                           ELSE LEAST(expires_at, now() + $1::interval) END
			FROM lapsed AS l WHERE d.event_id = l.event_id AND d.channel = l.channel)
		INSERT INTO attempt (event_id, channel, attempt_id, started_at, outcome, reason, applied)
		SELECT event_id, channel, attempt_id, updated_at, 'unknown', $2::text, true FROM lapsed
		RETURNING channel`, l.ambiguityWait, reasonLapsed)
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
	for _, way := range channels {
		tag, err := l.pool.Exec(ctx, `
			WITH late AS (
				SELECT event_id, channel FROM delivery
				WHERE channel = $1 AND state IN ('planned', 'retry', 'unknown') AND next_attempt_at <= now() AND expires_at <= now()
				ORDER BY next_attempt_at LIMIT 1000 FOR UPDATE SKIP LOCKED)
			UPDATE delivery AS d
			SET state = 'expired', reason = CASE WHEN unknowns > 0 THEN $2 ELSE $3 END, next_attempt_at = NULL, updated_at = now()
			FROM late WHERE d.event_id = late.event_id AND d.channel = late.channel`, way, reasonUnknown, reasonLate)
		if err != nil {
			return done, fmt.Errorf("sweeping what is past its time: %w", err)
		}
		done.expired[way] = tag.RowsAffected()
	}
	return done, nil
}

// waiting is what the ledger still has to do for one channel and state.
type waiting struct {
	Channel channel `db:"channel"`
	State   state   `db:"state"`
	Rows    int64   `db:"rows"`
	// Overdue is how long the oldest has been due; 0 if none is.
	Overdue float64 `db:"overdue"`
}

// Waiting counts the deliveries that have not ended. It reads those alone, so it
// costs what the backlog is, not what the table is.
func (l *ledger) Waiting(ctx context.Context) ([]waiting, error) {
	rows, err := l.pool.Query(ctx, `
		SELECT channel, state, count(*) AS rows,
		       COALESCE(GREATEST(0, EXTRACT(epoch FROM now() - min(COALESCE(next_attempt_at, lease_until)))), 0)::float8 AS overdue
		FROM delivery WHERE state IN ('planned', 'retry', 'unknown') OR state = 'sending'
		GROUP BY channel, state`)
	if err != nil {
		return nil, fmt.Errorf("counting deliveries: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[waiting])
	if err != nil {
		return nil, fmt.Errorf("counting deliveries: %w", err)
	}
	return list, nil
}
