package messaging

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/report"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

// defaultStatisticsDays is how far statistics go back unless asked otherwise.
const defaultStatisticsDays = 30

// GetStatistics returns figures within the agent's scope, all of one moment.
func (s *agentServer) GetStatistics(ctx context.Context, req *messagingpb.GetStatisticsRequest) (*messagingpb.GetStatisticsResponse, error) {
	days := int(req.GetDays())
	if days == 0 {
		days = defaultStatisticsDays
	}
	sc := scopeOf(auth.FromContext(ctx))
	key := fmt.Sprintf("statistics %s %q %d", sc.key(), req.GetQueue(), days)
	figures, err := report.Read(ctx, s.reports.figures, ask(ctx, key, s.reports.maxAge), func(ctx context.Context) (figures, error) {
		return s.reports.store.statistics(ctx, sc, req.GetQueue(), days)
	})
	if err != nil {
		return nil, statusOf(err)
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
			Theme: choiceOf(theme.Theme, theme.Label), Received: theme.Received,
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
	Date     string `db:"date"`
	Received int32  `db:"received"`
	Answered int32  `db:"answered"`
}

type themeRow struct {
	Theme    string  `db:"theme"`
	Label    string  `db:"label"`
	Received int32   `db:"received"`
	Answered int32   `db:"answered"`
	OnTime   int32   `db:"on_time"`
	Median   float64 `db:"median"`
}

type waitingRow struct {
	Count  int32      `db:"count"`
	Oldest *time.Time `db:"oldest"`
}

type answersRow struct {
	Answered int32   `db:"answered"`
	OnTime   int32   `db:"on_time"`
	Median   float64 `db:"median"`
	P90      float64 `db:"p90"`
}

// parisDay is the day of a time in Paris.
func parisDay(at string) string { return `(` + at + ` AT TIME ZONE 'Europe/Paris')::date` }

var (
	// A first answer is on time when no more working days went by than were
	// announced. Where none were, there is nothing to be on time for.
	onTime = `answer_days > 0 AND working_days(created_at, first_reply_at) <= answer_days`

	// The period is whole days of Paris; received are the conversations opened in
	// it, and only those: first answers of the period may be to older ones.
	statisticsPeriod = `
		WITH period AS (
			SELECT ` + parisDay(`now()`) + ` - (@days::integer - 1) AS first, ` + parisDay(`now()`) + ` AS last
		), bounds AS (
			SELECT first::timestamp AT TIME ZONE 'Europe/Paris' AS start FROM period
		), mine AS NOT MATERIALIZED (
			SELECT * FROM conversation WHERE ` + withinScope + ` AND (@queue = '' OR queue = @queue)
		), received AS (
			SELECT *, extract(epoch FROM first_reply_at - created_at)::float8 / 3600 AS hours
			FROM mine WHERE created_at >= (SELECT start FROM bounds)
		)`

	daysSQL = statisticsPeriod + `, opened AS (
			SELECT ` + parisDay(`created_at`) + ` AS day, count(*) AS n FROM received GROUP BY 1
		), answered AS (
			SELECT ` + parisDay(`first_reply_at`) + ` AS day, count(*) AS n
			FROM mine WHERE first_reply_at >= (SELECT start FROM bounds) GROUP BY 1
		)
		SELECT to_char(d, 'YYYY-MM-DD') AS date, coalesce(opened.n, 0) AS received, coalesce(answered.n, 0) AS answered
		FROM period, generate_series(first::timestamp, last::timestamp, interval '1 day') d
		LEFT JOIN opened ON opened.day = d::date LEFT JOIN answered ON answered.day = d::date
		ORDER BY d`

	themesSQL = statisticsPeriod + `
		SELECT theme, (array_agg(theme_label ORDER BY taxonomy_version DESC))[1] AS label,
		       count(*) AS received, count(first_reply_at) AS answered, count(*) FILTER (WHERE ` + onTime + `) AS on_time,
		       coalesce(percentile_cont(0.5) WITHIN GROUP (ORDER BY hours), 0) AS median
		FROM received GROUP BY theme ORDER BY received DESC, theme`

	answersSQL = statisticsPeriod + `
		SELECT count(first_reply_at) AS answered, count(*) FILTER (WHERE ` + onTime + `) AS on_time,
		       coalesce(percentile_cont(0.5) WITHIN GROUP (ORDER BY hours), 0) AS median,
		       coalesce(percentile_cont(0.9) WITHIN GROUP (ORDER BY hours), 0) AS p90
		FROM received`

	// Literally the predicate of the partial index conversation_queue.
	waitingSQL = `
		SELECT count(*) AS count, min(created_at) AS oldest FROM conversation
		WHERE ` + withinScope + ` AND (@queue = '' OR queue = @queue) AND status IN (1, 2, 3, 6)`
)

// statistics reads all figures from one snapshot, so that they agree.
func (s *store) statistics(ctx context.Context, sc scope, queue string, days int) (figures, error) {
	args := sc.args()
	args["queue"], args["days"] = queue, days
	var f figures
	err := pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) (err error) {
		// The planner takes the period for a third of the table, and would compile
		// for half a second what then runs for some milliseconds.
		if _, err = tx.Exec(ctx, `SET LOCAL jit = off`); err != nil {
			return fmt.Errorf("preparing statistics: %w", err)
		}
		if f.days, err = many[dayRow](ctx, tx, "counting days", daysSQL, args); err != nil {
			return err
		}
		if f.themes, err = many[themeRow](ctx, tx, "counting themes", themesSQL, args); err != nil {
			return err
		}
		if f.answers, err = one[answersRow](ctx, tx, answersSQL, args); err != nil {
			return fmt.Errorf("measuring answers: %w", err)
		}
		if f.waiting, err = one[waitingRow](ctx, tx, waitingSQL, args); err != nil {
			return fmt.Errorf("counting what waits: %w", err)
		}
		return nil
	})
	return f, err
}
