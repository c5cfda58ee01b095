//go:build seeded

package ledger

import (
	"context"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
)

// TakeAsSent records that a planned delivery was sent, which nobody has claimed.
func (l *Ledger) TakeAsSent(ctx context.Context, p Plan) error {
	_, err := postgres.Exec(ctx, l.pool, "recording", `
		UPDATE delivery SET state = 'accepted', next_attempt_at = NULL WHERE event_id = $1 AND channel = $2 AND state = 'planned'`, p.EventID, p.Channel)
	return err
}
