package ledger

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/notifiertest"
	"github.com/ma-messagerie/messagerie/services/notifier/migrations"
)

// What is past its term goes with all that belongs to it, and nothing else does.
func TestForget(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	old, young, replayed := planOf(Email, SMS), planOf(Email, SMS), planOf(Email, SMS)
	for _, plans := range [][]Plan{old, young, replayed} {
		notifiertest.Plan(t, l, plans)
	}
	notifiertest.Exec(t, l.pool, `UPDATE delivery SET state = 'accepted', next_attempt_at = NULL WHERE event_id <> $1 OR channel = 'EMAIL'`, replayed[0].EventID)
	notifiertest.Exec(t, l.pool, `UPDATE delivery SET logged_at = now() - interval '400 days' WHERE event_id = ANY($1)`, []uuid.UUID{old[0].EventID, replayed[0].EventID})
	notifiertest.Exec(t, l.pool, `INSERT INTO attempt (event_id, channel, attempt_id, started_at, outcome, applied) SELECT event_id, channel, event_id, now(), 'accepted', true FROM delivery`)
	notifiertest.Exec(t, l.pool, `INSERT INTO report (provider, report_id, event_id, channel, state, received_at)
		SELECT 'sendgrid', event_id || channel, event_id, channel, 'delivered', now() - CASE channel WHEN 'SMS' THEN interval '31 days' ELSE interval '0' END FROM delivery`)
	notifiertest.Exec(t, l.pool, `INSERT INTO set_aside (message_id, type, payload, reason, set_aside_at) VALUES ('a', 'x', '', 'x', now() - interval '400 days'), ('b', 'x', '', 'x', now())`)
	notifiertest.Exec(t, l.pool, `INSERT INTO intervention (operator, action, target, at) VALUES ('olga', 'drop', 'x', now() - interval '400 days'), ('olga', 'drop', 'x', now())`)
	const term = 399 * 24 * time.Hour
	for name, forget := range map[string]func(context.Context, time.Duration) (int64, error){
		"deliveries": l.ForgetDeliveries, "aside": l.ForgetAside, "interventions": l.ForgetInterventions,
	} {
		if n, err := forget(t.Context(), term); n != 1 || err != nil {
			t.Errorf("%s: %d, %v, want 1", name, n, err)
		}
		if n, err := forget(t.Context(), term); n != 0 || err != nil {
			t.Errorf("%s again: %d, %v", name, n, err)
		}
	}
	if n, err := l.ForgetReports(t.Context(), ReportLifetime); n != 2 || err != nil { // of SMS, the old event's is gone
		t.Errorf("reports: %d, %v", n, err)
	}
	for what, want := range map[string]int{"delivery": 4, "attempt": 4, "report": 2, "set_aside": 1, "intervention": 1} {
		var n, others int
		if err := l.pool.QueryRow(t.Context(), `SELECT count(*) FROM `+what).Scan(&n); err != nil {
			t.Fatal(err)
		}
		if what == "delivery" || what == "attempt" || what == "report" {
			if err := l.pool.QueryRow(t.Context(), `SELECT count(*) FROM `+what+` WHERE event_id <> ALL($1)`, []uuid.UUID{young[0].EventID, replayed[0].EventID}).Scan(&others); err != nil {
				t.Fatal(err)
			}
		}
		if n != want || others != 0 {
			t.Errorf("%s has %d rows, %d of others, want %d", what, n, others, want)
		}
	}
}

// A replay that is not committed yet keeps its event.
func TestForget_ReplayUnderWay(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	plans := planOf(Email, SMS)
	notifiertest.Plan(t, l, plans)
	notifiertest.Exec(t, l.pool, `UPDATE delivery SET state = 'refused', reason = 'HTTP_400', next_attempt_at = NULL, logged_at = now() - interval '500 days'`)
	replay, err := l.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := replay.Exec(t.Context(), `UPDATE delivery SET state = 'planned', reason = '', next_attempt_at = now() WHERE channel = 'SMS'`); err != nil {
		t.Fatal(err)
	}
	for _, when := range []string{"under way", "committed"} {
		if n, err := l.ForgetDeliveries(t.Context(), LeastRetention); n != 0 || err != nil {
			t.Errorf("%s: %d, %v", when, n, err)
		}
		if when == "under way" {
			if err := replay.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	var n int
	if err := l.pool.QueryRow(t.Context(), `SELECT count(*) FROM delivery`).Scan(&n); err != nil || n != 2 {
		t.Errorf("%d deliveries are left, %v", n, err)
	}
	if until, err := l.ForgottenUntil(t.Context()); time.Since(until) < LeastRetention || err != nil {
		t.Errorf("forgotten until %s, %v", until, err)
	}
}

// A replay that was committed after its event was chosen keeps it too.
func TestForget_ReplayedMeanwhile(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	var events []uuid.UUID
	for range 2 {
		plans := planOf(Email, SMS)
		notifiertest.Plan(t, l, plans)
		events = append(events, plans[0].EventID)
	}
	notifiertest.Exec(t, l.pool, `UPDATE delivery SET state = 'refused', reason = 'HTTP_400', next_attempt_at = NULL, logged_at = now() - interval '500 days'`)
	// Who forgets stops when its statement has begun and nothing is locked.
	notifiertest.Exec(t, l.pool, `CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END $$`)
	notifiertest.Exec(t, l.pool, `CREATE TRIGGER stop BEFORE INSERT ON forgotten FOR EACH STATEMENT EXECUTE FUNCTION stop()`)
	stop := begin(t, l, `SELECT pg_advisory_xact_lock(1)`)
	ended := make(chan error, 1)
	go func() {
		n, err := l.ForgetDeliveries(t.Context(), LeastRetention)
		if err == nil && n != 0 {
			err = fmt.Errorf("%d events were forgotten", n)
		}
		ended <- err
	}()
	waits(t, l, 1)
	for i, channel := range Channels { // of the one the e-mail, of the other the SMS
		if n, err := l.Replay(t.Context(), "olga", Filter{IDs: events[i : i+1], Channels: []string{string(channel)}}); n != 1 || err != nil {
			t.Errorf("replay by %s: %d, %v", channel, n, err)
		}
	}
	if err := stop.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	var n int
	if err := l.pool.QueryRow(t.Context(), `SELECT count(*) FROM delivery`).Scan(&n); err != nil || n != 4 {
		t.Errorf("%d deliveries are left, %v", n, err)
	}
}

// begin begins a transaction that ends with the test at the latest.
func begin(t *testing.T, l *Ledger, sql string, args ...any) pgx.Tx {
	t.Helper()
	tx, err := l.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) })
	if _, err := tx.Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
	return tx
}

// waits waits until n statements wait for locks.
func waits(t *testing.T, l *Ledger, n int) {
	t.Helper()
	notifiertest.Eventually(t, fmt.Sprintf("%d wait for locks", n), func() bool {
		var have int
		err := l.pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&have)
		return err == nil && have == n
	})
}

// A process that compares has found an event missing, or is about to, while another that
// does not compare forgets it.
func TestForget_BesideARound(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	const day = 24 * time.Hour
	old, missing := planOf(Email, SMS), planOf(Email, SMS)
	now := time.Now()
	for i := range old {
		old[i].LoggedAt, missing[i].LoggedAt = now.Add(-60*day), now.Add(-20*day)
	}
	notifiertest.Plan(t, l, old)
	notifiertest.Exec(t, l.pool, `UPDATE delivery SET state = 'delivered', next_attempt_at = NULL`)
	notifiertest.Exec(t, l.pool, `INSERT INTO report (provider, report_id, event_id, channel, state) VALUES ('sendgrid', 'a', $1, 'EMAIL', 'delivered')`, old[0].EventID)
	notifiertest.Exec(t, l.pool, `UPDATE forgotten SET until = until - interval '1 year'`)
	// Who forgets has come as far as reports.
	stop := begin(t, l, `SELECT FROM report FOR UPDATE`)
	type result struct {
		n   int64
		err error
	}
	forgotten, found := make(chan result, 1), make(chan result, 1)
	go func() {
		n, err := l.ForgetDeliveries(t.Context(), LeastRetention)
		forgotten <- result{n, err}
	}()
	waits(t, l, 1)
	go func() {
		n, err := l.PlanMissing(t.Context(), slices.Concat(old, missing))
		found <- result{n, err}
	}()
	waits(t, l, 2)
	notifiertest.Plan(t, l, planOf(Email)) // what the broker brings waits for neither
	if err := stop.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := <-forgotten; got != (result{1, nil}) {
		t.Errorf("forgotten: %v", got)
	}
	if got := <-found; got != (result{2, nil}) {
		t.Errorf("planned: %v, want what is missing", got)
	}
	if n, err := l.PlanMissing(t.Context(), old); n != 0 || err != nil {
		t.Errorf("afterwards: %d, %v", n, err)
	}
}

// Two years pass, ten days at a time, with the same events each day. The ledger is as large
// as its term says, and nobody who plans meanwhile waits for a lock.
func TestForget_TwoYears(t *testing.T) {
	t.Parallel()
	url := testenv.Postgres(t, migrations.Files)
	l := ledgerIn(notifiertest.Open(t, url))
	const (
		days, step, daily = 730, 10, 60
		day               = 24 * time.Hour
		term              = 405 * day
	)
	ctx, end := context.WithCancel(t.Context())
	defer end()
	var group sync.WaitGroup
	defer group.Wait()
	// A plan that waited for a lock would fail.
	impatient := ledgerIn(notifiertest.Open(t, url, func(cfg *pgxpool.Config) { cfg.ConnConfig.RuntimeParams["lock_timeout"] = "250" }))
	planned := 0
	group.Go(func() {
		for ctx.Err() == nil {
			if _, err := impatient.Plan(t.Context(), []Plan{{EventID: uuid.Must(uuid.NewV7()), Channel: Email, EventType: ReplyPosted, ConversationID: uuid.New(), Caisse: "msa-75"}}); err != nil {
				t.Errorf("planning beside: %v", err)
				return
			}
			planned++
		}
	})
	for passed := step; passed <= days; passed += step {
		ago := time.Duration(days-passed) * day
		notifiertest.Exec(t, l.pool, `WITH made AS (
				INSERT INTO delivery (event_id, channel, event_type, conversation_id, caisse, state, occurred_at, logged_at, expires_at, updated_at)
				SELECT event, channel, 'message-submitted', event, 'msa-75', 'delivered', at, at, at, at
				FROM generate_series(1, $2::int) n, LATERAL (SELECT gen_random_uuid() AS event, now() - $1::interval - interval '10 days' * n / $2::int AS at) AS t,
				     (VALUES ('EMAIL'), ('SMS')) AS c (channel) RETURNING event_id, channel, occurred_at)
			INSERT INTO attempt (event_id, channel, attempt_id, started_at, finished_at, outcome, applied) SELECT event_id, channel, event_id, occurred_at, occurred_at, 'accepted', true FROM made`, ago, step*daily)
		for n := int64(postgres.ForgetBatch); n == postgres.ForgetBatch; {
			var err error
			if n, err = l.ForgetDeliveries(t.Context(), term+ago); err != nil {
				t.Fatal(err)
			}
		}
	}
	end()
	group.Wait()
	for _, what := range []string{`delivery WHERE event_type = 'message-submitted'`, `attempt`} {
		var n int
		if err := l.pool.QueryRow(t.Context(), `SELECT count(*) FROM `+what).Scan(&n); err != nil {
			t.Fatal(err)
		}
		if want := 2 * 405 * daily; n < want-4*daily || n > want+4*daily {
			t.Errorf("%d of %s, want %d", n, what, want)
		}
	}
	if planned < 100 {
		t.Errorf("only %d planned beside", planned)
	}
}
