package taxonomy

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ma-messagerie/messagerie/chassis/testenv"
	"github.com/ma-messagerie/messagerie/chassis/testenv/scale"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

// Every statement of this service reads what it returns, with the outcomes of a thousand days:
// of a thousand selections each in the large tables, which is more than a taxonomy has.
func TestScale(t *testing.T) {
	t.Parallel()
	scale.Tables{URL: testenv.Postgres(t, Migrations), Rows: scaleRows, Fill: func(ctx context.Context, pool *pgxpool.Pool, from, to int) error {
		if _, err := pool.Exec(ctx, `INSERT INTO taxonomy_version (version, content) VALUES (1, 'x') ON CONFLICT DO NOTHING`); err != nil {
			return err
		}
		if _, err := pool.Exec(ctx, `INSERT INTO outcome_key (digest, request, counted_at)
			SELECT sha256(n::text::bytea), '', now() - interval '1 hour' * n / $2::int FROM generate_series($1::int + 1, $2::int) n`, from, to); err != nil {
			return err
		}
		if _, err := pool.Exec(ctx, `INSERT INTO suggestion_outcome (day, audience, theme, reason, service, shown)
			SELECT (now() AT TIME ZONE 'Europe/Paris')::date - n % 1000, 1 + n / 1000 % 3, 'theme', (n / 1000)::text, 'service', n FROM generate_series($1::int, $2::int - 1) n`, from, to); err != nil {
			return err
		}
		// Two years of months, a half of them with words that can be read.
		if _, err := pool.Exec(ctx, `INSERT INTO searched_word (month, digest, buckets, word, searches)
			SELECT `+thisMonth+` - make_interval(months => n % 24), sha256(n::text::bytea), n % 2, CASE WHEN n % 2 = 0 THEN 'word' || n END, 5 FROM generate_series($1::int + 1, $2::int) n`, from, to); err != nil {
			return err
		}
		if _, err := pool.Exec(ctx, `INSERT INTO search_day (day, searches, without_choice) SELECT `+today+` - n, n, n FROM generate_series(0, 999) n ON CONFLICT DO NOTHING`); err != nil {
			return err
		}
		// What was added up is added up anew.
		if _, err := pool.Exec(ctx, `TRUNCATE suggestion_outcome_month`); err != nil {
			return err
		}
		return keepAll(ctx, &store{pool: pool})
	}}.Test(t)
}

// keepAll adds up all months that are over.
func keepAll(ctx context.Context, s *store) error {
	for {
		if more, err := s.keepMonth(ctx); err != nil || !more {
			return err
		}
	}
}

func scaleRows(pool, aside *pgxpool.Pool) []scale.Row {
	s := &store{pool: pool}
	version := 1 // what Fill makes
	return []scale.Row{
		{Of: []string{"store.publish"}, Planless: 1, Run: func(ctx context.Context, _ int) error { // a lock
			version++
			return s.publish(ctx, version, fmt.Append(nil, "content of ", version))
		}},
		{Of: []string{"store.refresh", "store.version"}, Run: func(ctx context.Context, _ int) error {
			if err := s.refresh(ctx); err == nil {
				return errors.New("a content that is none was read")
			}
			return nil
		}},
		{Of: []string{"store.count"}, Run: func(ctx context.Context, n int) error {
			_, err := s.count(ctx, outcome{
				at:      place{audience: taxonomypb.Audience_PARTICULIER, theme: "counted", reason: fmt.Sprint(n)},
				service: "service", what: taxonomypb.SuggestionOutcome_SHOWN, call: call{key: sha256.Sum256([]byte(uuid.NewString()))},
			})
			return err
		}},
		{Of: []string{"store.figures"}, Reads: "a year's months, and the days beside them", Run: func(ctx context.Context, _ int) error {
			_, err := s.figures(ctx, 366)
			return err
		}},
		{Of: []string{"store.keepMonth"}, Reads: "a month", Run: func(ctx context.Context, _ int) error {
			if _, err := aside.Exec(ctx, `DELETE FROM suggestion_outcome_month WHERE month = (SELECT max(month) FROM suggestion_outcome_month)`); err != nil {
				return err
			}
			more, err := s.keepMonth(ctx)
			if err == nil && !more {
				return errors.New("no month to add up")
			}
			return err
		}},
		{Of: []string{"store.forgetMonths"}, Run: func(ctx context.Context, _ int) error {
			_, err := s.forgetMonths(ctx, leastOutcomes)
			return err
		}},
		{Of: []string{"store.forgetKeys"}, Reads: "what it deletes, of which small tables have little", Run: func(ctx context.Context, _ int) error {
			_, err := s.forgetKeys(ctx, keyTerm)
			return err
		}},
		{Of: []string{"store.forgetOutcomes"}, Reads: "what it deletes, of which small tables have little", Run: func(ctx context.Context, _ int) error {
			_, err := s.forgetOutcomes(ctx, 900*24*time.Hour)
			return err
		}},
		{Of: []string{"store.search"}, Run: func(ctx context.Context, n int) error {
			search := searched{call: call{key: sha256.Sum256([]byte(uuid.NewString()))}, subject: fmt.Sprint(n), without: true}
			for word := range maxNoted { // a half of them anew each time
				search.words = append(search.words, fmt.Sprint(word, n*(word%2)))
			}
			_, _, err := s.search(ctx, search)
			return err
		}},
		{Of: []string{"store.month"}, Run: func(ctx context.Context, _ int) error {
			if _, err := aside.Exec(ctx, `DELETE FROM search_month`); err != nil {
				return err
			}
			_, err := s.month(ctx)
			return err
		}},
		{Of: []string{"store.reveal"}, Run: func(ctx context.Context, _ int) error {
			m, known := month{First: testTime}, sha256.Sum256([]byte(uuid.NewString()))
			if _, err := aside.Exec(ctx, `INSERT INTO searched_word (month, digest, buckets) VALUES ($1, $2, 31)`, m.First, known[:]); err != nil {
				return err
			}
			return s.reveal(ctx, m, known[:], "revealed")
		}},
		{Of: []string{"store.searches"}, Reads: "the words of thirteen months", Run: func(ctx context.Context, _ int) error {
			_, err := s.searches(ctx, 366)
			return err
		}},
		{Of: []string{"store.forgetSecrets"}, Run: func(ctx context.Context, _ int) error {
			_, err := s.forgetSecrets(ctx, monthGrace)
			return err
		}},
		{Of: []string{"store.forgetPending"}, Reads: "what it deletes, of which small tables have little", Run: func(ctx context.Context, _ int) error {
			_, err := s.forgetPending(ctx, monthGrace)
			return err
		}},
		{Of: []string{"store.forgetWords"}, Reads: "what it deletes, of which small tables have little", Run: func(ctx context.Context, _ int) error {
			_, err := s.forgetWords(ctx, leastOutcomes)
			return err
		}},
		{Of: []string{"store.forgetSearches"}, Run: func(ctx context.Context, _ int) error {
			_, err := s.forgetSearches(ctx, 900*24*time.Hour)
			return err
		}},
		{Of: []string{"server.GetStatus"}, Planless: 1, Run: func(ctx context.Context, _ int) error { // the versions of the schema
			_, err := s.pool.Exec(ctx, `SELECT 1`)
			return err
		}},
	}
}
