//go:build seeded

package notifier

import (
	"context"
	"log/slog"
	"slices"

	"github.com/ma-messagerie/messagerie/chassis/seeded"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/ledger"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/provider"
)

// sendNow calls the providers about plans of which nothing is stored yet, and
// stores them as accepted, if told to make this mistake.
func sendNow(ctx context.Context, lanes []*lane, plans []ledger.Plan) {
	if !seeded.On(seeded.SendInsideIngest) {
		return
	}
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
		if _, err := l.ledger.Plan(ctx, []ledger.Plan{p}); err != nil {
			continue
		}
		if err := l.ledger.TakeAsSent(ctx, p); err != nil {
			slog.WarnContext(ctx, "recording", "error", err)
		}
	}
}
