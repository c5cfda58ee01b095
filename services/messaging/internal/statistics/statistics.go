// Package statistics answers how much comes in, how much of it is answered, and how soon.
package statistics

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/report"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/reports"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/waiting"
)

// defaultStatisticsDays is how far statistics go back by default.
const defaultStatisticsDays = 30

// Statistics is the call of AgentService about figures.
type Statistics struct {
	Reports *reports.Reports
}

// GetStatistics returns figures within the agent's scope, all of one moment.
func (s *Statistics) GetStatistics(ctx context.Context, req *messagingpb.GetStatisticsRequest) (*messagingpb.GetStatisticsResponse, error) {
	days := int(req.GetDays())
	if days == 0 {
		days = defaultStatisticsDays
	}
	sc := conversation.ScopeOf(auth.FromContext(ctx))
	key := fmt.Sprintf("statistics %s %q %d", sc.Key(), req.GetQueue(), days)
	figures, err := report.Read(ctx, s.Reports.Figures, reports.Ask(ctx, key, s.Reports.MaxAge), func(ctx context.Context) (figures, error) {
		return statistics(ctx, s.Reports.DB, sc, req.GetQueue(), days)
	})
	if err != nil {
		return nil, err
	}
	resp := &messagingpb.GetStatisticsResponse{
		Waiting: figures.waiting.Count,
		Answers: &messagingpb.AnswerFigures{
			Answered: figures.answers.Answered, OnTime: figures.answers.OnTime,
			MedianHours: figures.answers.Median, P90Hours: figures.answers.P90,
		},
	}
	if figures.waiting.Oldest != nil {
		resp.OldestWaiting = timestamppb.New(*figures.waiting.Oldest)
	}
	for _, day := range figures.days {
		resp.Days = append(resp.Days, &messagingpb.DayFigures{Date: day.Date, Received: day.Received, Answered: day.Answered})
	}
	for _, theme := range figures.themes {
		resp.Themes = append(resp.Themes, &messagingpb.ThemeFigures{
			Theme: conversation.Choice(theme.Theme, theme.Label), Received: theme.Received,
			Answered: theme.Answered, OnTime: theme.OnTime, MedianHours: theme.Median,
		})
	}
	return resp, nil
}

// figures are what statistics are made of.
type figures struct {
	days    []dayRow
	themes  []themeRow
	waiting waitingRow
	answers answersRow
}

type dayRow struct {
	Date     string
	Received int32
	Answered int32
}

type themeRow struct {
	Theme    string
	Label    string
	Received int32
	Answered int32
	OnTime   int32
	Median   float64
}

// waitingRow is what waits now.
type waitingRow struct {
	Count  int32      `db:"count"`
	Oldest *time.Time `db:"oldest"`
}

type answersRow struct {
	Answered int32
	OnTime   int32
	Median   float64
	P90      float64
}

// parisDay is the day of a time in Paris, as it is written.
func parisDay(at string) string {
	return `to_char(` + at + ` AT TIME ZONE 'Europe/Paris', 'YYYY-MM-DD')`
}

var (
	// The period is whole days of Paris.
	statisticsPeriod = `
		WITH period AS (
			SELECT (now() AT TIME ZONE 'Europe/Paris')::date - (@days::integer - 1) AS first, (now() AT TIME ZONE 'Europe/Paris')::date AS last
		), bounds AS (
			SELECT first::timestamp AT TIME ZONE 'Europe/Paris' AS start FROM period
		)`

	mine = conversation.WithinScope + ` AND (@queue = '' OR queue = @queue)`

	daysSQL = statisticsPeriod + `
		SELECT to_char(d, 'YYYY-MM-DD') FROM period, generate_series(first::timestamp, last::timestamp, interval '1 day') d ORDER BY d`

	// Received are the conversations opened in the period, read once and out of the index
	// conversation_received alone: by hours, which are never of two days in Paris, and by
	// theme and the time to the first answer, in steps of six minutes for two days and of
	// an hour then. A first answer is on time when no more working days went by than were
	// announced; where none were, there is nothing to be on time for.
	receivedSQL = statisticsPeriod + `, grouped AS MATERIALIZED (
			SELECT opened, theme, spent, count(*) AS n, count(*) FILTER (WHERE on_time) AS on_time, max(created_at) AS newest
			FROM (
				SELECT theme, created_at, date_bin('1 hour', created_at, timestamptz 'epoch') AS opened,
				       date_bin(CASE WHEN first_reply_at < created_at + interval '2 days' THEN interval '6 minutes' ELSE interval '1 hour' END,
				                first_reply_at, created_at) - created_at AS spent,
				       answer_days > 0 AND working_days(created_at, first_reply_at) <= answer_days AS on_time
				FROM conversation WHERE ` + mine + ` AND created_at >= (SELECT start FROM bounds)) AS received
			GROUP BY GROUPING SETS ((opened), (theme, spent))
		), named AS MATERIALIZED (
			SELECT theme, (SELECT theme_label FROM conversation AS c
			               WHERE c.caisse = @caisse AND c.created_at = last.newest AND c.theme = last.theme LIMIT 1) AS label
			FROM (SELECT theme, max(newest) AS newest FROM grouped WHERE opened IS NULL GROUP BY theme) AS last
		)
		SELECT ` + parisDay(`opened`) + ` AS day, '' AS theme, '' AS label, NULL::float8 AS hours, sum(n)::integer AS n, 0 AS on_time
		FROM grouped WHERE opened IS NOT NULL GROUP BY 1
		UNION ALL
		SELECT '', theme, label, extract(epoch FROM spent)::float8 / 3600, n::integer, on_time::integer
		FROM grouped JOIN named USING (theme) WHERE opened IS NULL
		ORDER BY theme, hours`

	// First answers given in the period, whenever the conversation was opened, out of the index
	// conversation_first_answer alone.
	answeredSQL = statisticsPeriod + `
		SELECT ` + parisDay(`answered`) + ` AS day, sum(n)::integer AS n
		FROM (SELECT date_bin('1 hour', first_reply_at, timestamptz 'epoch') AS answered, count(*) AS n FROM conversation
		      WHERE ` + mine + ` AND first_reply_at IS NOT NULL AND first_reply_at >= (SELECT start FROM bounds) GROUP BY 1) AS by_hour
		GROUP BY 1`

	// How many wait is kept (package waiting); the oldest is the first of each queue and status.
	waitingSQL = `
		SELECT coalesce((SELECT sum(n) FROM ` + waiting.Kept + ` WHERE ` + mine + `), 0)::integer AS count,
		       (SELECT min(oldest) FROM (SELECT DISTINCT queue, status FROM ` + waiting.Kept + ` WHERE ` + mine + `) AS q,
		        LATERAL (SELECT created_at AS oldest FROM conversation AS c WHERE c.caisse = @caisse AND c.queue = q.queue AND c.status = q.status
		                 ORDER BY created_at, id LIMIT 1) AS first) AS oldest`
)

// receivedRow is either how many were received on a day, or how many of a theme were
// answered within the same time; not at all where hours are nil.
type receivedRow struct {
	Day    string   `db:"day"`
	Theme  string   `db:"theme"`
	Label  string   `db:"label"`
	Hours  *float64 `db:"hours"`
	N      int32    `db:"n"`
	OnTime int32    `db:"on_time"`
}

// statistics reads all figures from one snapshot, so that they agree.
func statistics(ctx context.Context, db *pgxpool.Pool, sc conversation.Scope, queue string, days int) (figures, error) {
	args := sc.Args()
	args["queue"], args["days"] = queue, days
	var f figures
	err := pgx.BeginTxFunc(ctx, db, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		// The planner takes the period for a third of the table, and would compile
		// for half a second what then runs for some milliseconds, or sort on disk what
		// has some thousand groups.
		for _, setting := range []string{`SET LOCAL jit = off`, `SET LOCAL work_mem = '32MB'`} {
			if _, err := tx.Exec(ctx, setting); err != nil {
				return fmt.Errorf("preparing statistics: %w", err)
			}
		}
		dates, err := postgres.Many[string](ctx, tx, "naming days", daysSQL, args)
		if err != nil {
			return err
		}
		received, err := postgres.Many[receivedRow](ctx, tx, "counting what was received", receivedSQL, args)
		if err != nil {
			return err
		}
		answered, err := postgres.Many[struct {
			Day string `db:"day"`
			N   int32  `db:"n"`
		}](ctx, tx, "counting answers", answeredSQL, args)
		if err != nil {
			return err
		}
		f.themes, f.answers = themesOf(received)
		days := make(map[string]dayRow, len(dates))
		for _, row := range received {
			days[row.Day] = dayRow{Received: row.N}
		}
		for _, row := range answered {
			days[row.Day] = dayRow{Received: days[row.Day].Received, Answered: row.N}
		}
		for _, date := range dates {
			f.days = append(f.days, dayRow{date, days[date].Received, days[date].Answered})
		}
		f.waiting, err = postgres.One[waitingRow](ctx, tx, "counting what waits", waitingSQL, args)
		return err
	})
	return f, err
}

// themesOf sums up themes, most received first, and all of them. The rows of a theme
// are adjacent, quickest answers first.
func themesOf(rows []receivedRow) (themes []themeRow, all answersRow) {
	var everything histogram
	byTheme := make(map[string]*histogram)
	for _, row := range rows {
		if row.Day != "" {
			continue
		}
		if len(themes) == 0 || themes[len(themes)-1].Theme != row.Theme {
			themes = append(themes, themeRow{Theme: row.Theme, Label: row.Label})
			byTheme[row.Theme] = &histogram{}
		}
		theme := &themes[len(themes)-1]
		theme.Received += row.N
		theme.OnTime += row.OnTime
		all.OnTime += row.OnTime
		if row.Hours != nil {
			theme.Answered += row.N
			all.Answered += row.N
			byTheme[row.Theme].add(*row.Hours, row.N)
			everything.add(*row.Hours, row.N)
		}
	}
	for i := range themes {
		themes[i].Median = byTheme[themes[i].Theme].quantile(0.5)
	}
	slices.SortStableFunc(themes, func(a, b themeRow) int { return cmp.Compare(b.Received, a.Received) })
	all.Median, all.P90 = everything.quantile(0.5), everything.quantile(0.9)
	return themes, all
}

// histogram is how often values occurred.
type histogram struct {
	bars []bar
	n    int64
}

type bar struct {
	value float64
	n     int64
}

func (h *histogram) add(value float64, n int32) {
	h.bars = append(h.bars, bar{value, int64(n)})
	h.n += int64(n)
}

// quantile is the value below which a share of the occurrences lies; between two, it is
// in proportion. 0 when there are none.
func (h *histogram) quantile(share float64) float64 {
	if h.n == 0 {
		return 0
	}
	slices.SortFunc(h.bars, func(a, b bar) int { return cmp.Compare(a.value, b.value) })
	place := share * float64(h.n-1)
	low := int64(place)
	at := func(i int64) float64 {
		for _, b := range h.bars {
			if i < b.n {
				return b.value
			}
			i -= b.n
		}
		return h.bars[len(h.bars)-1].value
	}
	return at(low) + (place-float64(low))*(at(min(low+1, h.n-1))-at(low))
}
