package messaging

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/report"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/reports"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/taxonomy"
)

const (
	// delayPast is how far back answers are looked at.
	delayPast = 90 * 24 * time.Hour
	// delaySample bounds how many answers of a theme are looked at, newest first: a member
	// waits for it.
	delaySample = 500
	// delayLeast is how few answers say nothing about what is usual.
	delayLeast = 20
)

// GetExpectedDelay implements MessagingService. See the .proto.
func (s *server) GetExpectedDelay(ctx context.Context, req *messagingpb.GetExpectedDelayRequest) (*messagingpb.GetExpectedDelayResponse, error) {
	caisse, err := conversation.CaisseOf(auth.FromContext(ctx), s.defaultCaisse)
	if err != nil {
		return nil, err
	}
	tax := s.taxonomy.Held(s.taxonomy.Number())
	if tax == nil {
		return nil, taxonomy.ErrNoVersion
	}
	selection := &messagingpb.SubmitMessageRequest{Audience: req.GetAudience(), Theme: req.GetTheme(), Topic: req.GetTopic(), Reason: req.GetReason()}
	found, err := taxonomy.Locate(tax, selection)
	if err != nil {
		return nil, err
	}
	resp := &messagingpb.GetExpectedDelayResponse{}
	if days := found.Queue.GetAnswerDays(); days > 0 {
		resp.Target = &messagingpb.ExpectedDelay{WorkingDays: days}
	}
	// A topic or a reason that is not in the taxonomy says no more than its theme does,
	// and there are more of them than can be kept.
	selection.Topic, selection.Reason = found.Topic.GetCode(), found.Reason.GetCode()
	key := fmt.Sprintf("delay %q %d %q %q %q", caisse, selection.GetAudience(), selection.GetTheme(), selection.GetTopic(), selection.GetReason())
	rows, err := report.Read(ctx, s.reports.Lists, reports.Ask(ctx, key, 6*s.reports.MaxAge), func(ctx context.Context) ([]delayRow, error) {
		return delays(ctx, s.reports.DB, caisse, selection)
	})
	if err != nil {
		return nil, err
	}
	for _, level := range rows { // deepest first
		if level.Answers >= delayLeast {
			resp.Usual, resp.Answers = &messagingpb.ExpectedDelay{WorkingDays: level.Days}, level.Answers
			break
		}
	}
	return resp, nil
}

// delayRow is how long first answers took at one level of a selection.
type delayRow struct {
	Answers int32 `db:"answers"`
	Days    int32 `db:"days"`
}

// delays returns how many working days nine of ten first answers took at most: for
// the reason, the topic and the theme, as far as they were given, deepest first. An
// answer of the same day counts as one day.
func delays(ctx context.Context, db postgres.Querier, caisse string, selection *messagingpb.SubmitMessageRequest) ([]delayRow, error) {
	return postgres.Many[delayRow](ctx, db, "reading answer times", `
		WITH answered AS (
			SELECT topic, reason, greatest(1, working_days(created_at, first_reply_at)) AS days FROM conversation
			WHERE caisse = @caisse AND audience = @audience AND theme = @theme
			  AND first_reply_at IS NOT NULL AND first_reply_at > now() - @past::interval
			ORDER BY first_reply_at DESC LIMIT @sample
		), level AS (
			SELECT 1 AS depth, days FROM answered WHERE topic = @topic AND reason = @reason AND @reason <> ''
			UNION ALL SELECT 2, days FROM answered WHERE topic = @topic AND @topic <> ''
			UNION ALL SELECT 3, days FROM answered
		)
		SELECT count(*)::int AS answers, percentile_disc(0.9) WITHIN GROUP (ORDER BY days)::int AS days
		FROM level GROUP BY depth ORDER BY depth`,
		pgx.NamedArgs{
			"caisse": caisse, "audience": int16(selection.GetAudience()), "theme": selection.GetTheme(), "topic": selection.GetTopic(), //nolint:gosec // an enum of four
			"reason": selection.GetReason(), "past": delayPast, "sample": delaySample,
		})
}
