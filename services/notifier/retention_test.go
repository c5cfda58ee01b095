package notifier

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/durationpb"

	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/ledger"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/notifiertest"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/provider/providertest"
)

// The ledger must not forget what the event log has: it would be sent again.
func TestTerms_Agree(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for _, row := range []struct {
		name        string
		ledger      time.Duration
		log         *durationpb.Duration
		ok, forgets bool
	}{
		{"longer by two days", 402 * day, durationpb.New(400 * day), true, true},
		{"longer by less", 402*day - time.Second, durationpb.New(400 * day), false, false},
		{"shorter", 30 * day, durationpb.New(400 * day), false, false},
		{"the log keeps all", 4000 * day, durationpb.New(0), false, false},
		{"both keep all", 0, durationpb.New(0), true, true},
		{"the ledger keeps all", 0, durationpb.New(400 * day), true, true},
		{"a version before does not tell", 402 * day, nil, true, false},
	} {
		kept := &terms{ledger: row.ledger}
		if err := kept.agree(row.log); (err == nil) != row.ok || err != nil && !errors.Is(err, errLedgerTerm) {
			t.Errorf("%s: %v", row.name, err)
		}
		if kept.agreed.Load() != row.forgets {
			t.Errorf("%s: forgets %t, want %t", row.name, kept.agreed.Load(), row.forgets)
		}
	}
	// The log's term changes while the notifier runs.
	kept := &terms{ledger: 402 * day}
	for _, step := range []struct {
		log     time.Duration
		forgets bool
	}{{400 * day, true}, {500 * day, false}, {500 * day, false}, {0, false}, {400 * day, true}} {
		if err := kept.agree(durationpb.New(step.log)); err != nil || kept.agreed.Load() != step.forgets {
			t.Errorf("the log's term becomes %s: %v, forgets %t", step.log, err, kept.agreed.Load())
		}
	}
}

// A notifier whose ledger would forget what the event log has ends as soon as it is told,
// and has deleted nothing until then.
func TestLedgerRetention_Refused(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.cfg.ReconcileEvery = 20 * time.Millisecond
	s.cfg.LedgerRetention = ledger.LeastRetention
	s.mu.Lock()
	s.retention = durationpb.New(400 * 24 * time.Hour)
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), notifiertest.Patience)
	defer cancel()
	if err := Run(ctx, s.cfg); !errors.Is(err, errLedgerTerm) {
		t.Errorf("the notifier ended with %v", err)
	}
}

// While nothing is compared, the ledger may be kept for less than the event log. What it
// has forgotten by then is not sent again when comparing begins again.
func TestForget_NotSentAgain(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	log := func(age time.Duration) (uuid.UUID, time.Time) {
		id, event := eventOf(t, eventspb.TypeReplyPosted, s.newcomer())
		event.Time = time.Now().Add(-age).Truncate(time.Microsecond)
		s.log(id, event, eventspb.TypeReplyPosted, event.Time)
		return id, event.Time
	}
	const day = 24 * time.Hour
	for _, age := range []time.Duration{60 * day, 50 * day} {
		id, at := log(age)
		notifiertest.Plan(t, s.ledger, []ledger.Plan{{EventID: id, Channel: ledger.Email, EventType: ledger.ReplyPosted, ConversationID: uuid.New(), Caisse: "armorique", LoggedAt: at}})
	}
	notifiertest.Exec(t, s.pool, `UPDATE delivery SET state = 'delivered', next_attempt_at = NULL`)
	notifiertest.Exec(t, s.pool, `INSERT INTO reconciliation (settled_until) VALUES (now() - interval '100 days')`)
	notifiertest.Exec(t, s.pool, `UPDATE forgotten SET until = until - interval '1 year'`)
	if n, err := s.ledger.ForgetDeliveries(t.Context(), 40*day); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	log(49 * day) // never came, and was not forgotten
	settled := time.Now().Add(-time.Minute).Truncate(slot)
	s.mu.Lock()
	s.directory.settled, s.retention = settled, durationpb.New(400*day)
	s.mu.Unlock()
	s.cfg.ReconcileEvery, s.cfg.LedgerRetention = 50*time.Millisecond, 405*day
	s.start(t)
	notifiertest.Eventually(t, "all is compared", func() bool {
		until, err := s.ledger.ReconciledUntil(t.Context(), time.Hour)
		return err == nil && until.Equal(settled)
	})
	s.settled(t, 2)
	if n := len(s.providers.Accepted(providertest.Email)); n != 1 {
		t.Errorf("%d mails, want that of the event that was missing", n)
	}
}
