package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
)

// Plan is a delivery to be made.
type Plan struct {
	EventID        uuid.UUID `db:"event_id"`
	Channel        Channel   `db:"channel"`
	EventType      EventType `db:"event_type"`
	Closing        bool      `db:"closing"` // see Delivery
	ConversationID uuid.UUID `db:"conversation_id"`
	Caisse         string    `db:"caisse"`
	// LoggedAt is the time of the event in the sender's log; zero: now.
	LoggedAt     time.Time `db:"logged_at"`
	TraceContext string    `db:"trace_context"`
}

var planRows = postgres.RowsOf[Plan]()

// Plan adds the deliveries that the ledger does not have and returns how many.
// All or none are stored. Planning again changes nothing, however often and from
// wherever: this is where an event that comes twice becomes one delivery.
func (l *Ledger) Plan(ctx context.Context, plans []Plan) (int64, error) {
	return l.add(ctx, plans, false)
}

// PlanMissing is Plan for what was found in the sender's log and not in the ledger, whenever
// that was: what the ledger may have forgotten meanwhile is not planned.
func (l *Ledger) PlanMissing(ctx context.Context, plans []Plan) (int64, error) {
	return l.add(ctx, plans, true)
}

func (l *Ledger) add(ctx context.Context, plans []Plan, found bool) (int64, error) {
	// One order for everybody, or two instances that are given the same events
	// would wait for each other. The lock waits for who forgets just now, and has others
	// wait with it: what they forget afterwards is still there.
	return postgres.Exec(ctx, l.pool, fmt.Sprintf("planning %d deliveries", len(plans)), `
		WITH gone AS MATERIALIZED (SELECT until FROM forgotten FOR SHARE)
		INSERT INTO delivery (event_id, channel, event_type, closing, conversation_id, caisse, trace_context, next_attempt_at, logged_at, occurred_at, expires_at)
		SELECT event_id, channel, event_type, closing, conversation_id, caisse, trace_context, now(), at.logged, at.occurred,
		       CASE channel WHEN 'SMS' THEN at.occurred + $1::interval ELSE now() + $2::interval END
		FROM `+planRows.From("p", 4)+`,
		     LATERAL (SELECT COALESCE(NULLIF(logged_at, timestamptz '0001-01-01 00:00:00+00'), now()) AS logged) AS known,
		     LATERAL (SELECT known.logged, LEAST(known.logged, now()) AS occurred) AS at
		WHERE NOT $3 OR NOT EXISTS (SELECT FROM gone WHERE until >= at.logged)
		ORDER BY event_id, channel
		ON CONFLICT DO NOTHING`, planRows.Args(plans, smsLifetime, emailLifetime, found)...)
}
