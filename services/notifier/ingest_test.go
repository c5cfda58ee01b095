package notifier

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ma-messagerie/messagerie/chassis/bus"
	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/ledger"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/letter"
)

// What the broker brings is asked of the event log too, planned, put into words and named in
// the API. A type that the reconciler lacks is lost with the broker's store; one without an
// e-mail would be missing to it for ever (ledger.Digests counts e-mails).
func TestNotifiedEvents_Everywhere(t *testing.T) {
	t.Parallel()
	var subjects []string
	for _, kind := range notifying {
		subjects = append(subjects, eventspb.AllCaisses(kind))
	}
	if diff := cmp.Diff(eventspb.NotifierSubjects(), subjects); diff != "" {
		t.Errorf("the broker is asked for other events than the log: %s", diff)
	}
	words, to := letter.Composer{Site: "messagerie.example.org"}, member("fr")
	for _, kind := range notifying {
		_, event := eventOf(t, kind, to)
		plans, err := plansOf(bus.Msg{Type: event.Type, Data: event.Data})
		if err != nil {
			t.Fatal(err)
		}
		mails := 0
		for _, plan := range plans {
			if plan.Channel == ledger.Email {
				mails++
			}
			if string(plan.EventType) != kind || purposeOf[plan.EventType] == 0 {
				t.Errorf("%s is planned as %s, for the purpose %s", kind, plan.EventType, purposeOf[plan.EventType])
			}
			if _, err := words.Mail(ledger.Delivery{EventType: plan.EventType}, to); err != nil {
				t.Errorf("%s: %v", kind, err)
			}
		}
		if mails != 1 {
			t.Errorf("%s is planned as %d e-mails", kind, mails)
		}
	}
}

// An event that cannot be read, and not be set aside either, comes again: acknowledged, it
// would be lost.
func TestUnreadableEventIsNotLost(t *testing.T) {
	t.Parallel()
	l, pool := ledgerAndPool(t)
	counts, err := newInstruments(l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(counts.stop)
	pool.Close()
	in := &ingest{ledger: l, counts: counts, wake: func() { t.Error("senders were woken") }}
	unreadable := bus.Msg{ID: "e", Type: eventspb.CEType(eventspb.DefaultDomain, eventspb.TypeMessageSubmitted), Data: []byte("\xff")}
	if err := in.take(t.Context(), []bus.Msg{unreadable}); err == nil {
		t.Error("the event was taken, and stored nowhere")
	}
}
