package ledger

import (
	"context"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
)

// Delivery is a row that was claimed. Times are the database's.
type Delivery struct {
	EventID   uuid.UUID `db:"event_id"`
	Channel   Channel   `db:"channel"`
	EventType EventType `db:"event_type"`
	// Closing: the reply says why the conversation was closed, and is announced as that.
	Closing        bool      `db:"closing"`
	ConversationID uuid.UUID `db:"conversation_id"`
	AttemptID      uuid.UUID `db:"attempt_id"`
	// Attempts counts this one.
	Attempts     int       `db:"attempts"`
	Unknowns     int       `db:"unknowns"`
	OccurredAt   time.Time `db:"occurred_at"`
	ClaimedAt    time.Time `db:"claimed_at" sql:"d.updated_at"`
	TraceContext string    `db:"trace_context"`
}

// ID is what a provider's reports carry: enough to find the row, and nothing
// about anybody.
func (d Delivery) ID() string { return d.EventID.String() + "." + string(d.Channel) }

// ParseID undoes [Delivery.ID], and reports whether it could.
func ParseID(id string) (event uuid.UUID, channel Channel, ok bool) {
	name, suffix, _ := strings.Cut(id, ".")
	event, err := uuid.Parse(name)
	channel = Channel(suffix)
	return event, channel, err == nil && len(name) == 36 && (channel == Email || channel == SMS)
}

// Claim leases up to n due deliveries of a channel to the caller, the longest
// due first. No other caller gets them until the lease lapses; the attempt is
// counted before it is made, so that a sender that dies at each attempt still
// moves along the calendar.
func (l *Ledger) Claim(ctx context.Context, channel Channel, n int, lease time.Duration) ([]Delivery, error) {
	return postgres.Many[Delivery](ctx, l.pool, "claiming deliveries", `
		WITH due (due_event, due_channel) AS (
			SELECT event_id, channel FROM delivery
			WHERE channel = $1 AND state IN ('planned', 'retry', 'unknown') AND next_attempt_at <= LEAST(now(), $4) AND expires_at > now()
			ORDER BY next_attempt_at LIMIT $2
			FOR UPDATE SKIP LOCKED)
		UPDATE delivery AS d
		SET state = 'sending', attempts = attempts + 1, attempt_id = gen_random_uuid(),
		    lease_until = now() + $3::interval, next_attempt_at = NULL, updated_at = now()
		FROM due WHERE d.event_id = due_event AND d.channel = due_channel
		RETURNING `+postgres.Columns[Delivery](),
		channel, n, lease, l.clock.latest(time.Now()))
}
