package ledger

import (
	"testing"

	"github.com/ma-messagerie/messagerie/services/notifier/internal/notifiertest"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/provider"
)

// The figures of attempts are the same whether slots have been added up or not, and however
// often; a clock that was ahead keeps none from being counted.
func TestAttempts(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	notifiertest.Exec(t, l.pool, `INSERT INTO attempt (event_id, channel, attempt_id, started_at, finished_at, provider, outcome, applied)
		SELECT gen_random_uuid(), 'EMAIL', gen_random_uuid(), at, at, provider, outcome, true FROM (
			SELECT date_bin('10 seconds', now(), timestamptz 'epoch') + interval '2 seconds' - age::interval AS at, provider, outcome FROM generate_series(1, 3), (VALUES
				('10 seconds', 'sendgrid', 'accepted'), ('2 minutes', 'sendgrid', 'not_sent'), ('2 minutes', 'smtp', 'accepted'), ('4 minutes', 'sendgrid', 'found'),
				('6 minutes', 'sendgrid', 'config_fault'), ('6 minutes', 'sendgrid', 'refused'), ('11 minutes', 'sendgrid', 'config_fault'),
				('59 minutes', 'sendgrid', 'unknown'), ('61 minutes', 'sendgrid', 'accepted')) AS v (age, provider, outcome)) AS t`)
	notifiertest.Exec(t, l.pool, `INSERT INTO report (provider, report_id, event_id, channel, state, received_at)
		SELECT 'smtp', n::text, gen_random_uuid(), 'EMAIL', 'delivered', now() - n * interval '1 day' FROM generate_series(1, 3) AS n`)
	slots := func() (n int) {
		t.Helper()
		if err := l.pool.QueryRow(t.Context(), `SELECT count(*) FROM attempt_slot`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	check := func(when string) {
		t.Helper()
		got, err := l.Tried(t.Context(), []string{provider.NameSendGrid, provider.NameSMTP, provider.NameTwilio})
		if err != nil {
			t.Fatal(err)
		}
		age := got[provider.NameSMTP].Reported
		if age == nil || *age < 86_400 || *age > 86_400+3_600 || got[provider.NameSendGrid].Reported != nil || got[provider.NameTwilio].Reported != nil {
			t.Errorf("%s: the newest reports: %v", when, got)
		}
		for provider, want := range map[string]Attempts{
			provider.NameSendGrid: {Provider: provider.NameSendGrid, Accepted: 6, Refused: 3, Failed: 12, Calls5: 9, Failed5: 3, Config10: 3},
			provider.NameSMTP:     {Provider: provider.NameSMTP, Accepted: 3, Calls5: 3},
			provider.NameTwilio:   {Provider: provider.NameTwilio},
		} {
			found := got[provider]
			found.Reported = nil
			if found != want {
				t.Errorf("%s: %+v, want %+v", when, found, want)
			}
		}
	}
	check("not added up")
	for range 2 {
		if err := l.Fold(t.Context()); err != nil {
			t.Fatal(err)
		}
		check("added up")
		if n := slots(); n != 7 { // without what is not past, or too long past
			t.Errorf("%d slots, want 7", n)
		}
	}
	notifiertest.Exec(t, l.pool, `INSERT INTO attempt_slot (slot, provider, outcome, n) VALUES (now() + interval '1 hour', 'sendgrid', 'accepted', 9), (now() - interval '3 hours', 'sendgrid', 'accepted', 9)`)
	check("a clock was ahead")
	if err := l.Fold(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := slots(); n != 7 {
		t.Errorf("%d slots, want 7: those to come and old ones are kept", n)
	}
}
