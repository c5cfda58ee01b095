package ledger

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/provider"
)

// Outcome is what became of a claimed delivery.
type Outcome struct {
	Delivery Delivery
	State    State
	// wait is how long until the next attempt, for retry and unknown.
	wait time.Duration
	// pauses has the wait take none of the delivery's time.
	pauses bool
	// Uncounted takes the attempt back: it does not move the retry calendar.
	Uncounted bool
	// Class names the outcome in the log of attempts; empty writes none, for a
	// delivery that was given back before anything was tried.
	Class             provider.Class
	provider          string
	status            int
	providerMessageID string
	Reason            string
}

// Record stores outcomes and returns those that came too late: the lease had
// lapsed and the delivery has been claimed again since. They enter the log of
// attempts and change nothing else.
//
// An outcome that comes after the lease lapsed but before the next claim is
// still believed: it says what was unknown. One that comes after a provider's
// report about the delivery is logged and changes no state: the report knows more.
func (l *Ledger) Record(ctx context.Context, outcomes []Outcome) (late []Outcome, err error) {
	if len(outcomes) == 0 {
		return nil, nil
	}
	var fenced []uuid.UUID
	err = postgres.Again(ctx, func() (err error) { fenced, err = l.record(ctx, outcomes); return err })
	if err != nil {
		return nil, err
	}
	for _, o := range outcomes {
		if slices.Contains(fenced, o.Delivery.AttemptID) {
			late = append(late, o)
		}
	}
	return late, nil
}

// recorded is an outcome as its statement takes it.
type recorded struct {
	EventID   uuid.UUID     `db:"event_id"`
	Channel   Channel       `db:"channel"`
	AttemptID uuid.UUID     `db:"attempt_id"`
	State     State         `db:"state"`
	Wait      time.Duration `db:"wait"`
	Pauses    bool          `db:"pauses"`
	Uncounted bool          `db:"uncounted"`
	// Outcome names the end in the log of attempts; empty writes none.
	Outcome           provider.Class `db:"outcome"`
	Provider          string         `db:"provider"`
	HTTPStatus        int32          `db:"http_status"`
	ProviderMessageID string         `db:"provider_message_id"`
	Reason            string         `db:"reason"`
	StartedAt         time.Time      `db:"started_at"`
}

var recordedRows = postgres.RowsOf[recorded]()

// record returns the attempts whose outcomes came too late.
func (l *Ledger) record(ctx context.Context, outcomes []Outcome) ([]uuid.UUID, error) {
	rows := make([]recorded, len(outcomes))
	for i, o := range outcomes {
		rows[i] = recorded{
			EventID: o.Delivery.EventID, Channel: o.Delivery.Channel, AttemptID: o.Delivery.AttemptID, StartedAt: o.Delivery.ClaimedAt,
			State: o.State, Wait: o.wait, Pauses: o.pauses, Uncounted: o.Uncounted, Outcome: o.Class, Reason: o.Reason,
			Provider: o.provider, HTTPStatus: int32(o.status), ProviderMessageID: o.providerMessageID, //nolint:gosec // an HTTP status
		}
	}
	return postgres.Many[uuid.UUID](ctx, l.pool, fmt.Sprintf("recording %d outcomes", len(outcomes)), `
		WITH done AS (
			SELECT * FROM `+recordedRows.From("o", 2)+`
		), locked AS MATERIALIZED ( -- in one order for everybody
			SELECT d.event_id, d.channel FROM delivery AS d JOIN done USING (event_id, channel)
			ORDER BY d.event_id, d.channel FOR UPDATE OF d
		), applied AS (
			UPDATE delivery AS d
			SET state = CASE WHEN d.state NOT IN ('sending', 'unknown') THEN d.state -- a report came first
			                 WHEN o.state = 'retry' AND o.uncounted AND d.attempts = 1 THEN 'planned' ELSE o.state END,
			    attempts = d.attempts - o.uncounted::integer,
			    -- A look-up that failed has sent nothing: no doubt is added.
			    unknowns = d.unknowns + (o.state = 'unknown' AND d.state = 'sending' AND o.outcome <> 'lookup_failed')::integer,
			    lease_until = NULL,
			    next_attempt_at = CASE WHEN o.state IN ('retry', 'unknown') AND d.state IN ('sending', 'unknown')
			                           -- Claimed in a time to come: what it is to wait for was computed by a clock that has gone back.
			                           THEN LEAST(CASE WHEN o.pauses THEN 'infinity' ELSE d.expires_at END,
			                                      now() + CASE WHEN o.state = 'retry' AND o.started_at > now() THEN '0' ELSE o.wait END) END,
			    -- What is left of its time begins when the wait is over, which that clock has not made longer.
			    expires_at = CASE WHEN o.pauses AND o.started_at <= now() AND d.state IN ('sending', 'unknown')
			                      THEN now() + o.wait + LEAST(d.expires_at - o.started_at, $1::interval) ELSE d.expires_at END,
			    provider = CASE o.provider WHEN '' THEN d.provider ELSE o.provider END,
			    provider_message_id = CASE o.provider_message_id WHEN '' THEN d.provider_message_id ELSE o.provider_message_id END,
			    reason = CASE WHEN d.state IN ('sending', 'unknown') THEN o.reason ELSE d.reason END, updated_at = now()
			FROM done AS o JOIN locked USING (event_id, channel)
			WHERE d.event_id = o.event_id AND d.channel = o.channel AND
			      d.attempt_id = o.attempt_id AND d.state IN ('sending', 'unknown', 'accepted', 'delivered', 'bounced', 'complained')
			RETURNING o.attempt_id
		), logged AS (
			INSERT INTO attempt (event_id, channel, attempt_id, started_at, provider, outcome, http_status, provider_message_id, reason, applied)
			SELECT o.event_id, o.channel, o.attempt_id, o.started_at, o.provider, o.outcome, o.http_status, o.provider_message_id, o.reason,
			       o.attempt_id IN (SELECT attempt_id FROM applied)
			FROM done AS o WHERE o.outcome <> ''
		)
		SELECT attempt_id FROM done WHERE attempt_id NOT IN (SELECT attempt_id FROM applied)`,
		recordedRows.Args(rows, smsLifetime)...)
}
