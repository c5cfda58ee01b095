package ledger

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/notifiertest"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/provider"
)

// attemptRow is a line of the log of attempts.
type attemptRow struct {
	EventID           uuid.UUID `db:"event_id"`
	Channel           Channel   `db:"channel"`
	AttemptID         uuid.UUID `db:"attempt_id"`
	StartedAt         time.Time `db:"started_at"`
	Provider          string    `db:"provider"`
	Outcome           string    `db:"outcome"`
	HTTPStatus        int32     `db:"http_status"`
	ProviderMessageID string    `db:"provider_message_id"`
	Reason            string    `db:"reason"`
	Applied           bool      `db:"applied"`
}

// deliveryRow is what is written to a delivery from an outcome or a report.
type deliveryRow struct {
	State             State  `db:"state"`
	Provider          string `db:"provider"`
	ProviderMessageID string `db:"provider_message_id"`
	Reason            string `db:"reason"`
}

func only[T any](t *testing.T, l *Ledger, from string) T {
	t.Helper()
	row, err := postgres.One[T](t.Context(), l.pool, "reading", `SELECT `+postgres.Columns[T]()+` FROM `+from)
	if err != nil {
		t.Fatal(err)
	}
	return row
}

func same(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: %s", what, diff)
	}
}

// Each value goes to the column of its name: no two of a kind are the same here.
func TestColumns(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	plan := Plan{
		EventID: uuid.New(), Channel: SMS, EventType: ReplyPosted, Closing: true, ConversationID: uuid.New(), Caisse: "the caisse",
		LoggedAt: time.Now().Add(-time.Minute).Truncate(time.Millisecond), TraceContext: "the trace",
	}
	notifiertest.Plan(t, l, []Plan{plan})
	same(t, "plan", plan, only[Plan](t, l, `delivery`))

	claimed := notifiertest.Claim(t, l, SMS, 1)[0]
	same(t, "claim", Delivery{
		EventID: plan.EventID, Channel: SMS, EventType: ReplyPosted, Closing: true, ConversationID: plan.ConversationID, AttemptID: claimed.AttemptID,
		Attempts: 1, OccurredAt: plan.LoggedAt, ClaimedAt: claimed.ClaimedAt, TraceContext: "the trace",
	}, claimed)

	notifiertest.Record(t, l, Outcome{
		Delivery: claimed, State: Unknown, Class: provider.LookupFailed, provider: "the provider", status: 7,
		providerMessageID: "the message", Reason: "the reason",
	})
	same(t, "attempt", attemptRow{
		EventID: plan.EventID, Channel: SMS, AttemptID: claimed.AttemptID, StartedAt: claimed.ClaimedAt, Provider: "the provider",
		Outcome: "lookup_failed", HTTPStatus: 7, ProviderMessageID: "the message", Reason: "the reason", Applied: true,
	}, only[attemptRow](t, l, `attempt`))
	same(t, "outcome", deliveryRow{Unknown, "the provider", "the message", "the reason"}, only[deliveryRow](t, l, `delivery`))

	notifiertest.Exec(t, l.pool, `UPDATE delivery SET provider_message_id = ''`)
	report := Report{
		Provider: "the reporter", ReportID: "the report", EventID: plan.EventID, Channel: SMS, State: Bounced,
		MessageID: "its message", Reason: "its reason",
	}
	if _, err := l.Report(t.Context(), []Report{report}); err != nil {
		t.Fatal(err)
	}
	same(t, "report", report, only[Report](t, l, `(SELECT *, 'its message' AS message_id FROM report) AS r`))
	same(t, "reported", deliveryRow{Bounced, "the reporter", "its message", "its reason"}, only[deliveryRow](t, l, `delivery`))

	at := plan.LoggedAt
	aside := Unreadable{MessageID: "the id", Type: "the type", TraceContext: "the trace", Payload: []byte("the payload"), OccurredAt: at, Reason: "the reason"}
	if err := l.SetAside(t.Context(), aside); err != nil {
		t.Fatal(err)
	}
	events, err := l.AsideEvents(t.Context(), Filter{Reason: "the reason"})
	if err != nil || len(events) != 1 {
		t.Fatalf("%d events: %v", len(events), err)
	}
	same(t, "set aside", AsideEvent{
		ID: events[0].ID, MessageID: "the id", Type: "the type", Payload: []byte("the payload"), TraceContext: "the trace", OccurredAt: &at,
	}, events[0])
}
