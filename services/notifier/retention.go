package notifier

import (
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/ledger"
)

const (
	// beyondLog is how much longer than the event log the ledger must keep an event: the
	// log drops whole days, and some hours late.
	beyondLog = 48 * time.Hour
)

// errLedgerTerm: the ledger would forget what the event log still has, and the comparison
// of the two would send it again.
var errLedgerTerm = errors.New("LEDGER_RETENTION must be 0 or at least 48h longer than messaging's EVENT_LOG_RETENTION: what the log has and the ledger has forgotten would be sent again")

// terms is how long things are kept; 0: for ever.
type terms struct {
	ledger        time.Duration
	interventions time.Duration
	// agreed: the event log is known to keep its events for less than the ledger. Until
	// then the ledger forgets nothing. begun: it was so when this process started.
	agreed, begun atomic.Bool
}

// agree compares the ledger's term with the event log's, as messaging reports it (nil: an
// older version does not). A term that is too short at the start is an error. If the log's
// becomes longer later, this process goes on sending, and forgets nothing.
func (t *terms) agree(log *durationpb.Duration) error {
	if log == nil {
		return nil
	}
	kept := log.AsDuration()
	fits := t.ledger == 0 || kept != 0 && t.ledger >= kept+beyondLog
	if !fits && !t.begun.Load() {
		return fmt.Errorf("%w (it is %s, and the event log's %s)", errLedgerTerm, t.ledger, kept)
	}
	t.begun.Store(true)
	if was := t.agreed.Swap(fits); was && !fits {
		slog.Error("the event log is kept for longer than before; nothing is deleted from the ledger", "ledger", t.ledger, "log", kept)
	}
	return nil
}

// of are the terms of the ledger's tables.
func (t *terms) of(deliveries *ledger.Ledger) []postgres.Term {
	held := func() bool { return !t.agreed.Load() }
	return []postgres.Term{
		{What: "deliveries", Keep: t.ledger, Held: held, Step: deliveries.ForgetDeliveries},
		{What: "events set aside", Keep: t.ledger, Held: held, Step: deliveries.ForgetAside},
		{What: "reports", Keep: ledger.ReportLifetime, Step: deliveries.ForgetReports},
		{What: "interventions", Keep: t.interventions, Step: deliveries.ForgetInterventions},
		{What: "days without dead letters", Keep: ledger.EmptyDays, Step: deliveries.ForgetDays},
	}
}
