package notifier

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ma-messagerie/messagerie/services/notifier/internal/ledger"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/notifiertest"
)

func TestMain(m *testing.M) { notifiertest.Main(m) }

type row = notifiertest.Row[ledger.State]

var look = notifiertest.Look[ledger.State, ledger.Channel]

func ledgerAndPool(t *testing.T) (*ledger.Ledger, *pgxpool.Pool) {
	t.Helper()
	pool := notifiertest.Pool(t)
	return ledger.New(pool, ledger.Doubts{Wait: 3 * time.Minute, Blind: true}), pool
}

func planOf(channels ...ledger.Channel) []ledger.Plan {
	event, conversation := uuid.New(), uuid.New()
	plans := make([]ledger.Plan, len(channels))
	for i, channel := range channels {
		plans[i] = ledger.Plan{EventID: event, Channel: channel, EventType: ledger.MessageSubmitted, ConversationID: conversation, Caisse: "armorique"}
	}
	return plans
}
