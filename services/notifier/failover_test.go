package notifier

import (
	"net/http"
	"testing"
	"time"

	"github.com/ma-messagerie/messagerie/chassis/bus"
	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/ledger"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/notifiertest"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/provider"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/provider/providertest"
)

// While a provider refuses our key, deliveries lose no attempt, and the provider
// is asked once in a while, not once for each.
func TestBreakerBurnsNoAttempts(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.cfg.Workers = 2
	s.providers.Answer(func(call *providertest.Call, w http.ResponseWriter) bool {
		if call.Channel != providertest.Email {
			return false
		}
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	s.start(t)
	const replies = 30
	for range replies {
		_, event := eventOf(t, eventspb.TypeReplyPosted, s.newcomer())
		s.publish(t, event)
	}
	notifiertest.Eventually(t, "all are planned", func() bool {
		var n int
		err := s.pool.QueryRow(t.Context(), `SELECT count(*) FROM delivery`).Scan(&n)
		return err == nil && n == 2*replies
	})
	notifiertest.Eventually(t, "the provider was asked", func() bool { return len(s.providers.Came) > 0 })
	notifiertest.Exec(t, s.pool, `UPDATE delivery SET next_attempt_at = now() WHERE state IN ('planned', 'retry')`)
	s.publish(t, func() (e []bus.Event) {
		_, event := eventOf(t, eventspb.TypeReplyPosted, s.newcomer())
		return append(e, event)
	}()...)
	notifiertest.Eventually(t, "the last is planned", func() bool {
		var n int
		err := s.pool.QueryRow(t.Context(), `SELECT count(*) FROM delivery`).Scan(&n)
		return err == nil && n == 2*replies+2
	})
	var attempts int
	if err := s.pool.QueryRow(t.Context(), `SELECT coalesce(sum(attempts), 0) FROM delivery WHERE state <> 'sending'`).Scan(&attempts); err != nil {
		t.Fatal(err)
	}
	if attempts != 0 {
		t.Errorf("%d attempts were counted", attempts)
	}
	if n := len(s.providers.Came); n > 2*s.cfg.Workers {
		t.Errorf("the provider was asked %d times", n)
	}
}

// While SendGrid refuses our key, e-mails leave by the relay, in the same attempt
// and once; what SendGrid has left in doubt does not go there.
func TestFailOverToTheRelay(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	relay := providertest.StartRelay(t, nil)
	s.cfg.SMTP = provider.SMTP{Addr: relay.Addr, TLS: "none"}
	s.cfg.CallTimeout, s.cfg.Lease = 3*time.Second, 10*time.Second
	s.providers.Answer(func(call *providertest.Call, w http.ResponseWriter) bool {
		if call.Channel == providertest.Email {
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
		return false
	})
	s.start(t)
	event, submitted := eventOf(t, eventspb.TypeMessageSubmitted, s.newcomer())
	s.publish(t, submitted)
	s.settled(t, 2)
	if got := look(t, s.pool, event, ledger.Email); got.State != ledger.Accepted || got.Attempts != 1 || mailsAt(relay) != 1 {
		t.Errorf("%+v, %d at the relay", got, mailsAt(relay))
	}
	var by string
	if err := s.pool.QueryRow(t.Context(), `SELECT provider FROM delivery WHERE channel = 'EMAIL'`).Scan(&by); err != nil || by != provider.NameSMTP {
		t.Errorf("the ledger says %q: %v", by, err)
	}
	s.providers.Answer(func(call *providertest.Call, _ http.ResponseWriter) bool {
		if call.Channel == providertest.Email {
			<-call.Gone
		}
		return call.Channel == providertest.Email
	})
	_, second := eventOf(t, eventspb.TypeReplyPosted, s.newcomer())
	s.publish(t, second)
	notifiertest.Eventually(t, "it is in doubt", func() bool {
		var n int
		err := s.pool.QueryRow(t.Context(), `SELECT count(*) FROM delivery WHERE state = 'unknown'`).Scan(&n)
		return err == nil && n == 1
	})
	if mailsAt(relay) != 1 {
		t.Error("a mail in doubt went to the relay")
	}
}

func mailsAt(relay *providertest.Relay) int {
	_, mails := relay.Counts()
	return mails
}
