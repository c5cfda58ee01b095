package notifier

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/ledger"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/letter"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/notifiertest"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/provider"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/provider/providertest"
)

// inDoubt puts a submission into the ledger of which both attempts have ended
// without a record: the process has died. If arrived, the providers have taken them.
func (s *stage) inDoubt(t *testing.T, arrived bool) uuid.UUID {
	t.Helper()
	to := s.newcomer()
	plans := planOf(ledger.Email, ledger.SMS)
	for i := range plans {
		plans[i].EventID, plans[i].ConversationID = plans[0].EventID, uuid.MustParse(to.GetConversationId())
	}
	notifiertest.Plan(t, s.ledger, plans)
	words := letter.Composer{Site: s.cfg.SiteAddress}
	mails, texts := byMail(provider.NewSendGrid(s.cfg.SendGrid, 4, 5*time.Second), words), byText(provider.NewTwilio(s.cfg.Twilio, 4, 5*time.Second), words)
	for channel, deliver := range map[ledger.Channel]func(context.Context, ledger.Delivery, *messagingpb.Recipient) provider.Answer{ledger.Email: mails, ledger.SMS: texts} {
		d := notifiertest.Claim(t, s.ledger, channel, 1)[0]
		if !arrived {
			continue
		}
		if got := deliver(t.Context(), d, to); got.Class != provider.Accepted {
			t.Fatalf("%s: %+v", channel, got)
		}
	}
	notifiertest.Lapse(t, s.pool)
	return plans[0].EventID
}

// hasten ends all waits. The attempts are forgotten, or these tests could not run
// at night: a repeated SMS waits for the morning.
func (s *stage) hasten(t *testing.T) {
	t.Helper()
	notifiertest.Exec(t, s.pool, `UPDATE delivery SET next_attempt_at = now(), attempts = 0 WHERE state IN ('retry', 'unknown')`)
}

// hastened waits until the ledger has n rows and all of them are accepted.
func (s *stage) hastened(t *testing.T, n int) {
	t.Helper()
	notifiertest.Eventually(t, fmt.Sprintf("%d deliveries are accepted", n), func() bool {
		s.hasten(t)
		var done int
		err := s.pool.QueryRow(t.Context(), `SELECT count(*) FROM delivery WHERE state = 'accepted'`).Scan(&done)
		return err == nil && done == n
	})
}

// lookupStage is a stage whose providers can both be asked, soon.
func lookupStage(t *testing.T) *stage {
	t.Helper()
	s := newStage(t)
	s.cfg.SendGrid.Activity, s.cfg.AmbiguityWait = true, 100*time.Millisecond
	return s
}

// attempts are the outcomes in the log, in order.
func (s *stage) attempts(t *testing.T, event uuid.UUID, channel ledger.Channel) (outcomes string) {
	t.Helper()
	if err := s.pool.QueryRow(t.Context(), `SELECT COALESCE(string_agg(outcome || ' ' || provider_message_id, ', ' ORDER BY id), '')
		FROM attempt WHERE event_id = $1 AND channel = $2`, event, channel).Scan(&outcomes); err != nil {
		t.Fatal(err)
	}
	return outcomes
}

// The process died after the providers had taken both, before it could record it:
// nobody gets anything twice.
func TestCrashAfterAcceptanceIsNoDuplicate(t *testing.T) {
	t.Parallel()
	s := lookupStage(t)
	event := s.inDoubt(t, true)
	s.start(t)
	s.hastened(t, 2)
	for channel, id := range map[ledger.Channel]string{ledger.Email: "sg-1.filter", ledger.SMS: "SM1"} {
		if n := len(s.providers.Accepted(string(channel))); n != 1 {
			t.Errorf("%s: accepted %d times, want once", channel, n)
		}
		if got := look(t, s.pool, event, channel); got.State != ledger.Accepted || got.Unknowns != 1 {
			t.Errorf("%s: %+v", channel, got)
		}
		if got, want := s.attempts(t, event, channel), "unknown , found "+id; got != want {
			t.Errorf("%s: attempts %q, want %q", channel, got, want)
		}
	}
}

// It died before anything had left: both go, once.
func TestCrashBeforeAcceptanceIsSentOnce(t *testing.T) {
	t.Parallel()
	s := lookupStage(t)
	event := s.inDoubt(t, false)
	s.start(t)
	s.hastened(t, 2)
	for channel, id := range map[ledger.Channel]string{ledger.Email: "sg-1", ledger.SMS: "SM1"} {
		if sent, asked := len(s.providers.Accepted(string(channel))), s.providers.Asked(string(channel)); sent != 1 || asked != 1 {
			t.Errorf("%s: accepted %d times, asked %d times, want once each", channel, sent, asked)
		}
		if got, want := s.attempts(t, event, channel), "unknown , accepted "+id; got != want {
			t.Errorf("%s: attempts %q, want %q", channel, got, want)
		}
	}
}

// A provider that cannot be asked gets nothing again, on either side of the doubt,
// until it can.
func TestNothingIsSentWhileTheProviderCannotBeAsked(t *testing.T) {
	t.Parallel()
	for _, arrived := range []bool{true, false} {
		t.Run(fmt.Sprintf("arrived %t", arrived), func(t *testing.T) {
			t.Parallel()
			s := lookupStage(t)
			const never = 1 << 30
			s.providers.BreakLookups(never)
			event := s.inDoubt(t, arrived)
			before := len(s.providers.Calls())
			s.start(t)
			for _, channel := range ledger.Channels {
				for round := 1; round <= 2; round++ {
					notifiertest.Eventually(t, "the failed look-up is recorded", func() bool {
						s.hasten(t)
						return strings.Count(s.attempts(t, event, channel), "lookup_failed") >= round
					})
				}
				if got := look(t, s.pool, event, channel); got.Unknowns != 1 {
					t.Errorf("%s: a failed look-up was counted as a doubt: %+v", channel, got)
				}
			}
			if len(s.providers.Calls()) != before {
				t.Errorf("%d messages were sent in doubt", len(s.providers.Calls())-before)
			}
			s.providers.BreakLookups(0)
			s.hastened(t, 2)
			for _, channel := range ledger.Channels {
				if n := len(s.providers.Accepted(string(channel))); n != 1 {
					t.Errorf("%s: accepted %d times, want once", channel, n)
				}
			}
		})
	}
}

// An answer that was lost while the process lives on.
func TestAnswerLostAfterAcceptanceIsNoDuplicate(t *testing.T) {
	t.Parallel()
	s := lookupStage(t)
	s.cfg.CallTimeout = 2 * time.Second
	s.providers.Answer(func(call *providertest.Call, _ http.ResponseWriter) bool {
		s.providers.Accept(call)
		<-call.Gone
		return true
	})
	s.start(t)
	_, event := eventOf(t, eventspb.TypeMessageSubmitted, s.newcomer())
	s.publish(t, event)
	s.hastened(t, 2)
	for _, channel := range ledger.Channels {
		if n := len(s.providers.Accepted(string(channel))); n != 1 {
			t.Errorf("%s: accepted %d times, want once", channel, n)
		}
	}
}

// Without the add-on nobody is asked, and a mail in doubt is sent again.
func TestWithoutTheAddOnAMailInDoubtIsSentAgain(t *testing.T) {
	t.Parallel()
	s := lookupStage(t)
	s.cfg.SendGrid.Activity = false
	s.inDoubt(t, true)
	s.start(t)
	s.hastened(t, 2)
	if sent, asked := len(s.providers.Accepted(providertest.Email)), s.providers.Asked(providertest.Email); sent != 2 || asked != 0 {
		t.Errorf("accepted %d times, asked %d times", sent, asked)
	}
	if n := len(s.providers.Accepted(providertest.SMS)); n != 1 {
		t.Errorf("SMS: accepted %d times", n)
	}
}

// A first attempt asks nobody.
func TestFirstAttemptsAskNobody(t *testing.T) {
	t.Parallel()
	s := lookupStage(t)
	s.start(t)
	_, event := eventOf(t, eventspb.TypeMessageSubmitted, s.newcomer())
	s.publish(t, event)
	s.settled(t, 2)
	if n := s.providers.Asked(providertest.Email) + s.providers.Asked(providertest.SMS); n != 0 {
		t.Errorf("asked %d times", n)
	}
}
