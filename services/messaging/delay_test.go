package messaging

import (
	"testing"

	"google.golang.org/grpc/codes"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
)

func TestWorkingDays(t *testing.T) {
	t.Parallel()
	pool := messagingtest.Pool(t)
	for _, test := range []struct {
		name, from, to string
		want           int
	}{
		{"the same Wednesday", "2026-11-18 09:00+01", "2026-11-18 17:00+01", 0},
		{"over midnight", "2026-11-18 23:59:59.999999+01", "2026-11-19 00:00+01", 1},
		{"over midnight in Greenwich alone", "2026-11-18 00:30+01", "2026-11-18 01:30+01", 0},
		{"Friday to Saturday", "2026-11-20 17:00+01", "2026-11-21 10:00+01", 0},
		{"Friday to Sunday", "2026-11-20 17:00+01", "2026-11-22 23:59+01", 0},
		{"Friday to Monday", "2026-11-20 17:00+01", "2026-11-23 00:00+01", 1},
		{"Saturday to Monday", "2026-11-21 10:00+01", "2026-11-23 10:00+01", 1},
		{"Sunday to Friday", "2026-11-22 10:00+01", "2026-11-27 10:00+01", 5},
		{"Monday to Monday", "2026-11-16 10:00+01", "2026-11-23 09:00+01", 5},
		{"over the year", "2026-12-31 10:00+01", "2027-01-04 10:00+01", 2},
		{"into winter time", "2026-10-23 23:30+02", "2026-10-26 23:30+01", 1},
		{"into summer time", "2026-03-27 23:30+01", "2026-03-30 00:00+02", 1},
		{"backwards", "2026-11-24 10:00+01", "2026-11-23 10:00+01", 0},
		{"a year", "2026-01-05 10:00+01", "2027-01-04 10:00+01", 260},
	} {
		var got int
		if err := pool.QueryRow(t.Context(), `SELECT working_days($1::timestamptz, $2::timestamptz)`, test.from, test.to).Scan(&got); err != nil {
			t.Fatal(err)
		}
		if got != test.want {
			t.Errorf("%s: %d, want %d", test.name, got, test.want)
		}
	}
}

func TestExpectedDelay(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne := s.member(t, "jeanne")
	ask := func(reason string) *messagingpb.GetExpectedDelayResponse {
		t.Helper()
		resp, err := jeanne.messaging.GetExpectedDelay(jeanne.call(t), &messagingpb.GetExpectedDelayRequest{
			Audience: taxonomypb.Audience_PARTICULIER, Theme: "famille-logement", Topic: "allocations", Reason: reason,
		})
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	jeanne.submit(t) // by then, the taxonomy is known
	if _, err := s.pool.Exec(t.Context(), `DELETE FROM message; DELETE FROM conversation`); err != nil {
		t.Fatal(err)
	}
	if got := ask("paiement-absent"); got.GetUsual() != nil || got.GetTarget().GetWorkingDays() == 0 {
		t.Errorf("without any answer: %v", got)
	}
	// Twenty of one reason, answered after one day but for three after ten.
	for range delayLeast - 1 {
		jeanne.submit(t)
	}
	answered := `UPDATE conversation SET created_at = $1::text::timestamptz, first_reply_at = $2::text::timestamptz WHERE first_reply_at IS NULL`
	if _, err := s.pool.Exec(t.Context(), answered, "2000-01-03 10:00 Europe/Paris", "2000-01-04 10:00 Europe/Paris"); err != nil {
		t.Fatal(err)
	}
	recent := `UPDATE conversation SET first_reply_at = first_reply_at + d, created_at = created_at + d
		FROM (SELECT (floor((extract(epoch FROM now()) - extract(epoch FROM timestamptz '2000-01-11')) / 604800) - 1) * interval '7 days' AS d) AS shift WHERE first_reply_at < now() - interval '90 days'`
	if _, err := s.pool.Exec(t.Context(), recent); err != nil {
		t.Fatal(err)
	}
	if got := ask("paiement-absent"); got.GetUsual() != nil {
		t.Errorf("after %d answers: %v, want nothing yet", delayLeast-1, got)
	}
	jeanne.submit(t)
	if _, err := s.pool.Exec(t.Context(), `UPDATE conversation SET first_reply_at = now(), created_at = now() - interval '28 days' WHERE first_reply_at IS NULL`); err != nil {
		t.Fatal(err)
	}
	got := ask("paiement-absent")
	if got.GetAnswers() != delayLeast || got.GetUsual().GetWorkingDays() != 1 {
		t.Errorf("got %v, want one day of %d answers: nine of ten", got, delayLeast)
	}
	// Answers of more than ninety days ago say nothing.
	past := func(interval string) {
		t.Helper()
		if _, err := s.pool.Exec(t.Context(), `UPDATE conversation SET first_reply_at = now() - $1::interval - interval '1 minute' * (SELECT count(*) FROM conversation AS c WHERE c.id < conversation.id)`, interval); err != nil {
			t.Fatal(err)
		}
	}
	past("90 days")
	rows, err := delays(t.Context(), s.pool, "msa-75", &messagingpb.SubmitMessageRequest{Audience: taxonomypb.Audience_PARTICULIER, Theme: "famille-logement"})
	if err != nil || len(rows) != 0 {
		t.Errorf("of more than ninety days ago: %v, %v", rows, err)
	}
	past("89 days")
	if rows, err = delays(t.Context(), s.pool, "msa-75", &messagingpb.SubmitMessageRequest{Audience: taxonomypb.Audience_PARTICULIER, Theme: "famille-logement"}); err != nil || len(rows) != 1 || rows[0].Answers != delayLeast {
		t.Errorf("of eighty-nine days ago: %v, %v", rows, err)
	}
	// A reason without answers takes what is usual for its topic.
	if other := ask("montant"); other.GetAnswers() != delayLeast {
		t.Errorf("another reason: %v", other)
	}
	_, err = jeanne.messaging.GetExpectedDelay(jeanne.call(t), &messagingpb.GetExpectedDelayRequest{Audience: taxonomypb.Audience_PARTICULIER, Theme: "none"})
	refused(t, err, codes.InvalidArgument, "THEME_UNKNOWN", "theme")
}
