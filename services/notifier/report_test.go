package notifier

import (
	"net/http"
	"testing"
	"time"

	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/ledger"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/notifiertest"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/provider/providertest"
)

// A provider that takes a delivery and never says so: its report comes within
// AmbiguityWait, and nothing is sent again.
func TestAReportInsteadOfAnAnswer(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.cfg.Twilio.Lookup, s.cfg.SendGrid.Activity = false, false
	s.cfg.CallTimeout, s.cfg.Lease = 2*time.Second, 5*time.Second
	taken := make(chan *providertest.Call, 8)
	s.providers.Answer(func(call *providertest.Call, _ http.ResponseWriter) bool {
		taken <- call
		<-call.Gone // accepted, and silent
		return true
	})
	s.start(t)
	event, submitted := eventOf(t, eventspb.TypeMessageSubmitted, s.newcomer())
	s.publish(t, submitted)
	for range 2 {
		<-taken
	}
	notifiertest.Eventually(t, "both are in doubt", func() bool {
		return look(t, s.pool, event, ledger.Email).State == ledger.Unknown && look(t, s.pool, event, ledger.SMS).State == ledger.Unknown
	})
	for _, channel := range ledger.Channels {
		_, err := s.ledger.Report(t.Context(), []ledger.Report{{Provider: "p", ReportID: "d-" + string(channel), EventID: event, Channel: channel, State: ledger.Delivered}})
		if err != nil {
			t.Fatal(err)
		}
	}
	s.settled(t, 2)
	if len(taken) > 0 {
		t.Error("one was sent again")
	}
	for _, channel := range ledger.Channels {
		if got := look(t, s.pool, event, channel); got.State != ledger.Delivered {
			t.Errorf("%s is %s", channel, got.State)
		}
	}
}
