package ledger

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ma-messagerie/messagerie/chassis/testenv"
	"github.com/ma-messagerie/messagerie/chassis/testenv/scale"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/provider"
	"github.com/ma-messagerie/messagerie/services/notifier/migrations"
)

// aged makes the deliveries of a year by e-mail, every fourth with an SMS, an attempt and a
// report each; some are dead letters, some wait, and some are past their term.
var aged = []string{
	`INSERT INTO delivery (event_id, channel, event_type, conversation_id, caisse, state, reason, provider, occurred_at, logged_at, expires_at, attempt_id, attempts, next_attempt_at, created_at, updated_at)
	 SELECT event, channel, 'message-submitted', gen_random_uuid(), 'msa-75', state, CASE WHEN state = 'suppressed' THEN 'NO_PHONE' WHEN state = 'refused' THEN 'HTTP_400' ELSE '' END,
		CASE channel WHEN 'SMS' THEN 'twilio' ELSE 'sendgrid' END, at, at, CASE state WHEN 'retry' THEN now() ELSE at END + interval '3 days', gen_random_uuid(), 1, CASE state WHEN 'retry' THEN now() - interval '1 hour' * random() END, at, at
	 FROM generate_series($1::bigint + 1, $2::bigint) n,
	      LATERAL (SELECT gen_random_uuid() AS event, now() + interval '2 hours' - interval '400 days' * random() AS at WHERE n > 0) AS e,
	      LATERAL (VALUES ('EMAIL', CASE WHEN n % 100 = 0 THEN 'refused' WHEN n % 50 = 1 THEN 'retry' ELSE 'delivered' END),
	                      ('SMS', CASE WHEN n % 8 = 0 THEN 'suppressed' ELSE 'accepted' END)) AS d (channel, state)
	 WHERE channel = 'EMAIL' OR n % 4 = 0`,
	`INSERT INTO attempt (event_id, channel, attempt_id, started_at, finished_at, provider, outcome, applied)
	 SELECT event_id, channel, coalesce(attempt_id, event_id), updated_at, updated_at, provider, 'accepted', true FROM delivery d
	 WHERE $1::bigint < $2::bigint AND NOT EXISTS (SELECT FROM attempt a WHERE a.event_id = d.event_id AND a.channel = d.channel) ORDER BY updated_at`,
	`INSERT INTO report (provider, report_id, event_id, channel, state, received_at)
	 SELECT provider, event_id || channel, event_id, channel, 'delivered', updated_at FROM delivery WHERE $1::bigint < $2::bigint AND state = 'delivered' AND updated_at > now() - interval '31 days' ON CONFLICT DO NOTHING`,
	`INSERT INTO set_aside (message_id, type, payload, reason, set_aside_at, ended_at)
	 SELECT n::text, 'x', '\x00', 'UNREADABLE', now() - interval '400 days' * random(), CASE WHEN n % 2 = 0 THEN now() END FROM generate_series($1::bigint / 100, $2::bigint / 100) n ON CONFLICT DO NOTHING`,
	`INSERT INTO intervention (operator, action, target, at) SELECT 'olga', 'drop', 'x', now() - interval '2 years' + interval '2 years' * n / $2::bigint FROM generate_series($1::bigint / 10, $2::bigint / 10) n`,
}

// Every statement of this service reads what it returns, in a ledger that has grown.
func TestScale(t *testing.T) {
	t.Parallel()
	scale.Tables{URL: testenv.Postgres(t, migrations.Files), Rows: scaleRows, Fill: func(ctx context.Context, pool *pgxpool.Pool, from, to int) error {
		for _, sql := range aged {
			if _, err := pool.Exec(ctx, sql, from, to); err != nil {
				return fmt.Errorf("%w: %s", err, sql)
			}
		}
		// What was counted is counted anew.
		if _, err := pool.Exec(ctx, `TRUNCATE backlog_count, dead_letter_count, dead_letter_day_count, attempt_slot`); err != nil {
			return err
		}
		return New(pool, Doubts{}).Fold(ctx)
	}}.Test(t)
}

func scaleRows(pool, aside *pgxpool.Pool) []scale.Row {
	l := New(pool, Doubts{Wait: 3 * time.Minute, Blind: true})
	read := func(of string, do func(ctx context.Context, n int) error) scale.Row {
		return scale.Row{Of: []string{of}, Run: do}
	}
	failed := func(_ any, err error) error { return err }
	// some is a delivery in a state, another each time.
	some := func(ctx context.Context, n int, s State) (event, conversation uuid.UUID, err error) {
		err = aside.QueryRow(ctx, `SELECT event_id, conversation_id FROM delivery WHERE channel = 'EMAIL' AND state = $1 ORDER BY updated_at DESC OFFSET $2 LIMIT 1`, s, n).Scan(&event, &conversation)
		return event, conversation, err
	}
	window := func(ago time.Duration) (from, before time.Time) {
		return time.Now().Add(-ago), time.Now().Add(-ago + time.Minute)
	}
	return []scale.Row{
		read("Ledger.add", func(ctx context.Context, _ int) error {
			var plans []Plan
			for range 50 {
				event := uuid.Must(uuid.NewV7())
				for _, channel := range Channels {
					plans = append(plans, Plan{EventID: event, Channel: channel, EventType: MessageSubmitted, ConversationID: uuid.New(), Caisse: "msa-75"})
				}
			}
			_, err := l.Plan(ctx, plans)
			return errors.Join(err, failed(l.PlanMissing(ctx, plans)))
		}),
		{Of: []string{"Ledger.Claim", "Ledger.record"}, Run: func(ctx context.Context, _ int) error {
			claimed, err := l.Claim(ctx, Email, 20, time.Minute)
			if err != nil || len(claimed) != 20 {
				return errors.Join(err, fmt.Errorf("%d claimed", len(claimed)))
			}
			var outcomes []Outcome
			for _, d := range claimed {
				outcomes = append(outcomes, Outcome{Delivery: d, State: Accepted, Class: provider.Accepted, provider: provider.NameSendGrid})
			}
			return failed(l.Record(ctx, outcomes))
		}},
		{Of: []string{"Ledger.Sweep", "Ledger.followClock"}, Run: func(ctx context.Context, _ int) error {
			steady := &Ledger{pool: pool, doubts: l.doubts}
			steady.clock.noted(time.Now(), time.Now())
			return failed(steady.Sweep(ctx))
		}},
		{Of: []string{"Ledger.beginAnew"}, Reads: "what waits, for a while after a clock went back", Run: func(ctx context.Context, _ int) error { return l.beginAnew(ctx) }},
		{Of: []string{"Ledger.putOff"}, Reads: "what is under way, once for each leap of a clock", Run: func(ctx context.Context, _ int) error {
			return l.putOff(ctx, leap{ahead: time.Hour, before: time.Now().Add(-time.Hour), after: time.Now()})
		}},
		read("Ledger.Report", func(ctx context.Context, n int) error {
			var reports []Report
			for i := range 20 {
				event, _, err := some(ctx, 20*n+i, Delivered)
				if err != nil {
					return err
				}
				reports = append(reports, Report{Provider: provider.NameSendGrid, ReportID: uuid.NewString(), EventID: event, Channel: Email, State: Complained})
			}
			return failed(l.Report(ctx, reports))
		}),
		read("Ledger.Fresh", func(ctx context.Context, _ int) error { return failed(l.Fresh(ctx, time.Now().Unix(), time.Hour)) }),
		read("Ledger.Timeline", func(ctx context.Context, n int) error {
			_, conversation, err := some(ctx, n, Delivered)
			return errors.Join(err, failed(l.Timeline(ctx, conversation, nil, 1001)))
		}),
		read("Ledger.SetAside", func(ctx context.Context, _ int) error {
			return l.SetAside(ctx, Unreadable{MessageID: uuid.NewString(), Type: "x", Payload: []byte("x"), Reason: "UNREADABLE"})
		}),
		read("Ledger.DeadLetters", func(ctx context.Context, _ int) error { return failed(l.DeadLetters(ctx, Filter{}, nil, 21)) }),
		{Run: func(ctx context.Context, _ int) error {
			return failed(l.DeadLetters(ctx, Filter{}, &Place{At: time.Now().AddDate(0, -3, 0)}, 21))
		}},
		{Run: func(ctx context.Context, _ int) error {
			return failed(l.DeadLetters(ctx, Filter{Channel: string(Email), Reason: "HTTP_400"}, nil, 21))
		}},
		{Run: func(ctx context.Context, _ int) error {
			return failed(l.DeadLetters(ctx, Filter{Channel: Event}, nil, 21))
		}},
		read("Ledger.CountDeadLetters", func(ctx context.Context, _ int) error {
			return failed(l.CountDeadLetters(ctx, Filter{Reason: "HTTP_400"}))
		}),
		{Run: func(ctx context.Context, _ int) error {
			from, yesterday := time.Now().AddDate(-1, 0, 0), time.Now().AddDate(0, 0, -1)
			_, err1 := l.CountDeadLetters(ctx, Filter{Reason: "HTTP_400", Before: &yesterday})
			_, err2 := l.CountDeadLetters(ctx, Filter{From: &from, Before: &yesterday})
			return errors.Join(err1, err2)
		}},
		{Run: func(ctx context.Context, _ int) error {
			_, err1 := l.DeadLetters(ctx, Filter{Provider: "nobody"}, nil, 21)
			_, err2 := l.DeadLetters(ctx, Filter{Provider: provider.NameSendGrid}, nil, 21)
			return errors.Join(err1, err2)
		}},
		{Of: []string{"Ledger.Replay", "Ledger.AsideEvents"}, Reads: "the dead letters that a filter selects, up to 10 000", Run: func(ctx context.Context, _ int) error {
			f := Filter{Reason: "HTTP_404"}
			_, err1 := l.Replay(ctx, "olga", f)
			_, err2 := l.AsideEvents(ctx, f)
			return errors.Join(err1, err2)
		}},
		{Of: []string{"Ledger.EndAside", "Ledger.Drop"}, Run: func(ctx context.Context, n int) error {
			event, _, err1 := some(ctx, n, Refused)
			_, err2 := l.Drop(ctx, "olga", event, string(Email), "")
			_, err3 := l.Drop(ctx, "olga", uuid.New(), Event, "")
			return errors.Join(err1, err2, err3, l.EndAside(ctx, "olga", uuid.New()))
		}},
		read("Ledger.Digests", func(ctx context.Context, _ int) error {
			from, before := window(30 * time.Minute)
			return failed(l.Digests(ctx, from, before))
		}),
		{Of: []string{"Ledger.ReconciledUntil", "Ledger.Reconciled", "Ledger.ReconcileLag"}, Run: func(ctx context.Context, _ int) error {
			_, err1 := l.ReconciledUntil(ctx, time.Hour)
			_, err2 := l.ReconcileLag(ctx)
			return errors.Join(err1, err2, l.Reconciled(ctx, time.Now().Add(-time.Hour)))
		}},
		read("Ledger.Waiting", func(ctx context.Context, _ int) error { return failed(l.Waiting(ctx)) }),
		read("Ledger.DeadLetterCount", func(ctx context.Context, _ int) error { return failed(l.DeadLetterCount(ctx)) }),
		read("Ledger.Tried", func(ctx context.Context, _ int) error {
			return failed(l.Tried(ctx, []string{provider.NameSendGrid, provider.NameTwilio}))
		}),
		read("Ledger.Status", func(ctx context.Context, _ int) error { return failed(l.Status(ctx)) }),
		{Of: []string{"Ledger.fold", "Ledger.foldAttempts"}, Planless: 2, Run: func(ctx context.Context, _ int) error { return l.Fold(ctx) }}, // the first time was at filling
		read("Ledger.ForgottenUntil", func(ctx context.Context, _ int) error { return failed(l.ForgottenUntil(ctx)) }),
		{Of: []string{"Ledger.ForgetDeliveries"}, Reads: "what it deletes, of which small tables have little", Run: func(ctx context.Context, _ int) error {
			return failed(l.ForgetDeliveries(ctx, 300*24*time.Hour))
		}},
		{Of: []string{"Ledger.forgetSome"}, Reads: "what it deletes", Run: func(ctx context.Context, _ int) error { return failed(l.ForgetAside(ctx, 300*24*time.Hour)) }},
		{Reads: "what it deletes", Run: func(ctx context.Context, _ int) error { return failed(l.ForgetReports(ctx, ReportLifetime)) }},
		{Reads: "what it deletes", Run: func(ctx context.Context, _ int) error { return failed(l.ForgetInterventions(ctx, 366*24*time.Hour)) }},
		{Run: func(ctx context.Context, _ int) error { return failed(l.ForgetDays(ctx, EmptyDays)) }},
	}
}
