package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
)

// Unreadable is an event that could not be read.
type Unreadable struct {
	MessageID, Type, TraceContext string
	Payload                       []byte
	OccurredAt                    time.Time // zero: not known
	Reason                        string
}

// SetAside keeps an event that could not be read, once.
func (l *Ledger) SetAside(ctx context.Context, e Unreadable) error {
	var at *time.Time
	if !e.OccurredAt.IsZero() {
		at = &e.OccurredAt
	}
	_, err := postgres.Exec(ctx, l.pool, "setting an event aside", `
		INSERT INTO set_aside (message_id, type, payload, trace_context, occurred_at, reason) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT DO NOTHING`, e.MessageID, e.Type, e.Payload, e.TraceContext, at, e.Reason)
	return err
}

// AsideEvent is an event that was set aside, to be read again.
type AsideEvent struct {
	ID           uuid.UUID  `db:"id"`
	MessageID    string     `db:"message_id"`
	Type         string     `db:"type"`
	Payload      []byte     `db:"payload"`
	TraceContext string     `db:"trace_context"`
	OccurredAt   *time.Time `db:"occurred_at"`
}

// AsideEvents returns the events among the dead letters that a filter selects.
func (l *Ledger) AsideEvents(ctx context.Context, f Filter) ([]AsideEvent, error) {
	if f.Channel != "" && f.Channel != Event || f.Deliveries {
		return nil, nil
	}
	f.Channel = Event
	where, args := f.where()
	args["limit"] = replayMost
	return postgres.Many[AsideEvent](ctx, l.pool, "reading events set aside", `
		SELECT `+postgres.Columns[AsideEvent]()+` FROM set_aside
		WHERE id IN (SELECT id FROM `+deadEvents+` AS letter WHERE `+where+` ORDER BY ended_at, id LIMIT @limit) ORDER BY set_aside_at`, args)
}

// EndAside takes an event off the list: it was read after all.
func (l *Ledger) EndAside(ctx context.Context, operator string, id uuid.UUID) error {
	_, err := postgres.Exec(ctx, l.pool, fmt.Sprintf("ending event %s", id), `
		WITH ended AS (UPDATE set_aside SET ended_at = now() WHERE id = $1 AND ended_at IS NULL RETURNING id)
		INSERT INTO intervention (operator, action, target) SELECT $2, 'replay', id || '.' || $3 FROM ended`, id, operator, Event)
	return err
}
