package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
)

// Report is what a provider says about a delivery that it has taken.
type Report struct {
	Provider string `db:"provider"`
	// ReportID is the provider's own name for the report: who has it has seen it.
	ReportID string    `db:"report_id"`
	EventID  uuid.UUID `db:"event_id"`
	Channel  Channel   `db:"channel"`
	// State is accepted, delivered, bounced or complained.
	State     State  `db:"state"`
	MessageID string `db:"message_id"`
	Reason    string `db:"reason"`
}

var reportRows = postgres.RowsOf[Report]()

// Reported counts what Report did with a set of reports.
type Reported struct {
	// Fresh were seen for the first time; Moved of them changed a delivery's
	// state, and Unmatched name a delivery that the ledger does not have.
	Fresh     int `db:"fresh"`
	Moved     int `db:"moved"`
	Unmatched int `db:"unmatched"`
	// Traces are the trace contexts of the deliveries that fresh reports are about,
	// by the id of the report that says most.
	Traces map[string]string `db:"traces"`
}

// Report stores reports and moves their deliveries on. A report that was stored
// before does nothing. States only go forward, accepted, delivered, bounced,
// complained, in whatever order reports come: a mail may bounce after it was
// delivered, and none is delivered after it bounced. Any report proves that the
// provider took the delivery, so it ends every wait, doubt and lease.
func (l *Ledger) Report(ctx context.Context, reports []Report) (done Reported, err error) {
	err = postgres.Again(ctx, func() (err error) {
		done, err = postgres.One[Reported](ctx, l.pool, fmt.Sprintf("storing %d reports", len(reports)), `
		WITH given AS (
			SELECT DISTINCT ON (provider, report_id) *, array_position('{accepted,delivered,bounced,complained}'::text[], state) AS rank
			FROM `+reportRows.From("r", 1)+`
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
		SELECT (SELECT count(*) FROM fresh) AS fresh, (SELECT count(*) FROM moved) AS moved,
		       (SELECT count(*) FROM last WHERE (event_id, channel) NOT IN (SELECT event_id, channel FROM locked)) AS unmatched,
		       (SELECT COALESCE(jsonb_object_agg(report_id, trace_context), '{}') FROM last JOIN locked USING (event_id, channel) WHERE trace_context <> '') AS traces`,
			reportRows.Args(reports)...)
		return err
	})
	return done, err
}

// Fresh reports whether a time, in seconds since 1970, is at most maxAge ago and
// not in the future, by the database's clock and give or take five minutes.
func (l *Ledger) Fresh(ctx context.Context, at int64, maxAge time.Duration) (bool, error) {
	return postgres.One[bool](ctx, l.pool, "reading the clock",
		`SELECT to_timestamp($1) BETWEEN now() - $2::interval AND now() + interval '5 minutes'`, at, maxAge)
}
