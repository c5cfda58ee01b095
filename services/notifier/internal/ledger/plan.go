package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// Plan is a delivery to be made.
type Plan struct {
	EventID        uuid.UUID
	Channel        Channel
	EventType      EventType
	ConversationID uuid.UUID
	Caisse         string
	LoggedAt       time.Time // in the sender's log; zero: now
	TraceContext   string
}

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
	var events, conversations []uuid.UUID
	var ways, kinds, caisses, traces []string
	var logged []*time.Time
	for _, p := range plans {
		events, conversations = append(events, p.EventID), append(conversations, p.ConversationID)
		ways, kinds = append(ways, string(p.Channel)), append(kinds, string(p.EventType))
		caisses, traces = append(caisses, p.Caisse), append(traces, p.TraceContext)
		at := &p.LoggedAt
		if p.LoggedAt.IsZero() {
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
