package taxonomy

import (
	"context"
	"log/slog"
	"math"
	"time"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

const (
	// keepMonthsEvery is how often months that are over are looked for, and keepMonthTimeout
	// how long adding one up may take.
	keepMonthsEvery  = time.Hour
	keepMonthTimeout = 30 * time.Second
)

// today is the current day where days are counted.
const today = `(now() AT TIME ZONE 'Europe/Paris')::date`

// figures sums up the last days, up to 366 with today in Paris, most shown first. Months that
// lie within them are read from their sums, where there are any, and the rest from their days.
// The services have only the code, in place of the name too. A sum beyond the wire's type is
// its largest value.
func (s *store) figures(ctx context.Context, days int32) ([]*taxonomypb.SuggestionFigures, error) {
	rows, err := postgres.Many[outcomeRow](ctx, s.pool, "reading outcomes", `
		WITH part AS (
			SELECT m.month, greatest(m.month, p.first) AS since, (m.month + interval '1 month')::date AS before,
				m.month >= p.first AND EXISTS (SELECT FROM suggestion_outcome_month AS k WHERE k.month = m.month) AS kept
			FROM (SELECT `+today+` - $1::integer + 1 AS first) AS p, generate_series(0, 12) AS n,
				LATERAL (SELECT (date_trunc('month', p.first::timestamp) + make_interval(months => n))::date AS month) AS m
		), counted AS (
			SELECT `+outcomeRows.Columns()+` FROM suggestion_outcome_month
			WHERE month = ANY (ARRAY(SELECT month FROM part WHERE kept))
			UNION ALL
			SELECT `+outcomeRows.Columns()+` FROM suggestion_outcome
			WHERE day = ANY (ARRAY(SELECT d::date FROM part, generate_series(since::timestamp, before - 1, interval '1 day') AS d WHERE NOT kept AND d <= `+today+`))
		)
		SELECT audience, theme, topic, reason, service,
			least(sum(shown), $3)::integer AS shown, least(sum(followed), $3)::integer AS followed,
			least(sum(wrote_anyway), $3)::integer AS wrote_anyway, least(sum(changed_selection), $3)::integer AS changed_selection
		FROM counted
		GROUP BY audience, theme, topic, reason, service
		ORDER BY sum(counted.shown) DESC, audience, theme, topic, reason, service
		LIMIT $2`, days, maxFigures, math.MaxInt32)
	if err != nil {
		return nil, noCounts(ctx, err)
	}
	list := make([]*taxonomypb.SuggestionFigures, len(rows))
	for i, row := range rows {
		list[i] = &taxonomypb.SuggestionFigures{
			Audience: taxonomypb.Audience(row.Audience), Theme: row.Theme, Topic: row.Topic, Reason: row.Reason,
			Service: &taxonomypb.OnlineService{Code: row.Service, Name: row.Service},
			Shown:   row.Shown, Followed: row.Followed, WroteAnyway: row.WroteAnyway, ChangedSelection: row.ChangedSelection,
		}
	}
	return list, nil
}

// keepMonth adds up the earliest month that has no sum yet, and reports whether there was one.
// Only months that figures may read whole count, and only a day after their end: a call that
// began before midnight may still be counted after it. Any number of processes may do so at
// once: they read the same.
func (s *store) keepMonth(ctx context.Context) (bool, error) {
	n, err := postgres.Exec(ctx, s.pool, "adding up a month of outcomes", `
		INSERT INTO suggestion_outcome_month (month, `+outcomeRows.Columns()+`)
		SELECT due.month, audience, theme, topic, reason, service, sum(shown), sum(followed), sum(wrote_anyway), sum(changed_selection)
		FROM (
			SELECT g::date AS month, (g + interval '1 month')::date AS before
			FROM generate_series(date_trunc('month', `+today+`::timestamp) - interval '1 year', `+today+`, interval '1 month') AS g
			WHERE g >= `+today+` - 365 AND g + interval '1 month' < `+today+`
				AND NOT EXISTS (SELECT FROM suggestion_outcome_month AS k WHERE k.month = g::date)
				AND EXISTS (SELECT FROM suggestion_outcome WHERE day >= g::date AND day < (g + interval '1 month')::date)
			ORDER BY g LIMIT 1
		) AS due JOIN suggestion_outcome ON day >= due.month AND day < due.before
		GROUP BY due.month, audience, theme, topic, reason, service
		ON CONFLICT DO NOTHING`)
	return n > 0, err
}

// keepMonths adds up the months that are over until ctx is done. Figures are right without it,
// and take longer.
func (s *store) keepMonths(ctx context.Context) {
	ticker := time.NewTicker(keepMonthsEvery)
	defer ticker.Stop()
	for {
		for more := true; more && ctx.Err() == nil; {
			step, cancel := context.WithTimeout(ctx, keepMonthTimeout)
			var err error
			more, err = s.keepMonth(step)
			cancel()
			if err != nil && ctx.Err() == nil {
				slog.WarnContext(ctx, "adding up months of outcomes", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// forgetMonths deletes some of the sums of months that begin before the term, oldest first:
// figures do not read them whole any more.
func (s *store) forgetMonths(ctx context.Context, keep time.Duration) (int64, error) {
	return postgres.Exec(ctx, s.pool, "forgetting months of outcomes", `
		DELETE FROM suggestion_outcome_month WHERE ctid = ANY (ARRAY(
			SELECT ctid FROM suggestion_outcome_month WHERE month < (now() - $1::interval)::date ORDER BY month LIMIT $2))`, keep, postgres.ForgetBatch)
}
