package taxonomy

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

// Months that are over are added up once, whole, and figures are the same from their sums as
// from their days, of whatever number of days.
func TestFigures_FromMonths(t *testing.T) {
	t.Parallel()
	pool := open(t, testenv.Postgres(t, Migrations))
	s := &store{pool: pool}
	exec := func(sql string) (rows int64) {
		t.Helper()
		tag, err := pool.Exec(t.Context(), sql)
		if err != nil {
			t.Fatal(err)
		}
		return tag.RowsAffected()
	}
	figures := func(days int32) (list []string) {
		t.Helper()
		got, err := s.figures(t.Context(), days)
		if err != nil {
			t.Fatal(err)
		}
		return lines(&taxonomypb.GetSuggestionStatisticsResponse{Figures: got})
	}
	// byDays is what the days alone add up to.
	byDays := func(days int) []string {
		t.Helper()
		rows, err := postgres.Many[outcomeRow](t.Context(), pool, "adding up", `
			SELECT audience, theme, topic, reason, service, sum(shown)::integer AS shown, sum(followed)::integer AS followed,
				sum(wrote_anyway)::integer AS wrote_anyway, sum(changed_selection)::integer AS changed_selection
			FROM suggestion_outcome WHERE day > `+today+` - $1::integer
			GROUP BY 1, 2, 3, 4, 5 ORDER BY sum(shown) DESC, 1, 2, 3, 4, 5`, days)
		if err != nil {
			t.Fatal(err)
		}
		var list []string
		for _, r := range rows {
			list = append(list, fmt.Sprintf("%s %s/%s/%s %s %d %d %d %d", taxonomypb.Audience(r.Audience), r.Theme, r.Topic, r.Reason, r.Service, r.Shown, r.Followed, r.WroteAnyway, r.ChangedSelection))
		}
		return list
	}
	// Two years, each day another number, of selections that differ in one thing each.
	exec(`
		INSERT INTO suggestion_outcome (day, audience, theme, topic, reason, service, shown, followed, wrote_anyway, changed_selection)
		SELECT ` + today + ` - n, audience, theme, topic, reason, service, 1000 + n, n, 2 * n, 3 * n FROM generate_series(0, 730) n, (VALUES
			(1, 'famille', '', '', 'payer'), (2, 'famille', '', '', 'payer'), (1, 'retraite', '', '', 'payer'), (1, 'famille', 'a', '', 'payer'),
			(1, 'famille', 'a', 'b', 'payer'), (1, 'famille', '', '', 'declarer')) AS s (audience, theme, topic, reason, service)
		WHERE theme <> 'retraite' OR n % 40 = 0`)
	same := func(when string) {
		t.Helper()
		for days := 1; days <= 366; days++ {
			if got, want := figures(int32(days)), byDays(days); !slices.Equal(got, want) {
				t.Fatalf("%s, %d days: got\n%v, want\n%v", when, days, got, want)
			}
		}
	}
	same("nothing is added up")

	if err := keepAll(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	var kept []time.Time
	if err := pool.QueryRow(t.Context(), `SELECT array_agg(DISTINCT month ORDER BY month) FROM suggestion_outcome_month`).Scan(&kept); err != nil {
		t.Fatal(err)
	}
	if want := monthsOver(t); !slices.EqualFunc(kept, want, time.Time.Equal) {
		t.Errorf("added up %v, want %v", kept, want)
	}
	same("added up")

	// What is of a month is read from its sum, where there is one, ...
	exec(`UPDATE suggestion_outcome_month SET shown = shown + 1000000`)
	if year := figures(366); slices.Equal(year, byDays(366)) {
		t.Error("a year does not read the sums")
	}
	exec(`UPDATE suggestion_outcome_month SET shown = shown - 1000000`)
	// ... and what has none from its days.
	exec(`DELETE FROM suggestion_outcome_month WHERE month = (SELECT min(month) + interval '3 months' FROM suggestion_outcome_month)`)
	same("one month has no sum")
	if err := keepAll(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	same("added up again")

	// Sums go when no figures read their month whole.
	exec(`INSERT INTO suggestion_outcome_month SELECT (month - interval '1 year')::date, audience, theme, topic, reason, service, 1, 1, 1, 1 FROM suggestion_outcome_month`)
	if _, err := s.forgetMonths(t.Context(), leastOutcomes); err != nil {
		t.Fatal(err)
	}
	var left []time.Time
	if err := pool.QueryRow(t.Context(), `SELECT array_agg(DISTINCT month ORDER BY month) FROM suggestion_outcome_month`).Scan(&left); err != nil {
		t.Fatal(err)
	}
	if !slices.EqualFunc(left, kept, time.Time.Equal) {
		t.Errorf("after forgetting %v, want %v", left, kept)
	}
	same("sums forgotten")
}

// monthsOver are the first days of the months within the last 366 days in Paris that ended
// before yesterday.
func monthsOver(t *testing.T) (list []time.Time) {
	t.Helper()
	zone, err := time.LoadLocation("Europe/Paris")
	if err != nil {
		t.Fatal(err)
	}
	year, month, day := time.Now().In(zone).Date()
	today := time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
	for first := time.Date(year-1, month, 1, 0, 0, 0, 0, time.UTC); first.AddDate(0, 1, 0).Before(today); first = first.AddDate(0, 1, 0) {
		if !first.Before(today.AddDate(0, 0, -365)) {
			list = append(list, first)
		}
	}
	return list
}

// A taxonomy adds up the months that are over when it starts.
func TestRun_KeepsMonths(t *testing.T) {
	t.Parallel()
	database := testenv.Postgres(t, Migrations)
	pool := open(t, database)
	if _, err := pool.Exec(t.Context(), `INSERT INTO suggestion_outcome (day, audience, theme, service, shown) SELECT `+today+` - n, 1, 'famille', 'payer', 1 FROM generate_series(0, 365) n`); err != nil {
		t.Fatal(err)
	}
	if _, err := run(t, database, sound); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	want := len(monthsOver(t))
	for months := 0; months != want; {
		if err := pool.QueryRow(ctx, `SELECT count(DISTINCT month) FROM suggestion_outcome_month`).Scan(&months); err != nil {
			t.Fatalf("%d months of %d added up: %v", months, want, err)
		}
	}
}
