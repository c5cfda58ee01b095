//go:build seeded

package notifier

import (
	"context"
	"log/slog"
	"slices"

	"github.com/ma-messagerie/messagerie/chassis/seeded"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/provider"
)

// sendNow calls the providers about plans of which nothing is stored yet, and
// stores them as accepted, if told to make this mistake.
func sendNow(ctx context.Context, lanes []*lane, plans []plan) {
	if !seeded.On(seeded.SendInsideIngest) {
		return
	}
	for _, p := range plans {
		l := lanes[slices.Index(channels, p.channel)]
		d := delivery{Event: p.event, Channel: p.channel, Kind: p.kind, Conversation: p.conversation, Attempts: 1, Occurred: p.logged, Claimed: p.logged}
		found, err := l.fetch(ctx, []delivery{d})
		if err != nil || l.send(ctx, job{delivery: d, recipient: found[p.conversation]}).Class != provider.Accepted {
			continue
		}
		if _, err := l.ledger.Plan(ctx, []plan{p}); err != nil {
			continue
		}
		_, err = l.ledger.pool.Exec(ctx, `UPDATE delivery SET state = 'accepted', next_attempt_at = NULL WHERE event_id = $1 AND channel = $2 AND state = 'planned'`, p.event, p.channel)
		if err != nil {
			slog.WarnContext(ctx, "recording", "error", err)
		}
	}
}
