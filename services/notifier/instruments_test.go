package notifier

import (
	"testing"

	"github.com/ma-messagerie/messagerie/services/notifier/internal/notifiertest"
)

// What an alert must see the first of is a series before it happens.
func TestCountersBeginAtZero(t *testing.T) {
	t.Parallel()
	l, _ := ledgerAndPool(t)
	counts, err := newInstruments(l)
	if err != nil {
		t.Fatal(err)
	}
	defer counts.stop()
	for _, series := range [][]string{
		{"messagerie.notifier.repaired"},
		{"messagerie.notifier.foreign"},
		{"messagerie.notifier.late", "channel", "EMAIL", "state", "unknown"},
		{"messagerie.notifier.late", "channel", "SMS", "state", "accepted"},
		{"messagerie.notifier.deliveries", "channel", "SMS", "state", "suppressed"},
		{"messagerie.notifier.deliveries", "channel", "EMAIL", "state", "expired"},
		{"messagerie.notifier.reports", "provider", "sendgrid", "result", "stale"},
		{"messagerie.notifier.reports", "provider", "twilio", "result", "forged"},
	} {
		if _, known := notifiertest.Counted(t, series[0], series[1:]...); !known {
			t.Errorf("no series of %v before anything happened", series)
		}
	}
	if _, known := notifiertest.Counted(t, "messagerie.notifier.late", "channel", "EMAIL", "state", "planned"); known {
		t.Error("an attempt does not end planned, and yet it is shown")
	}
}
