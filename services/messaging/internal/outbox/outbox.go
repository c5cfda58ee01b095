// Package outbox has the event log, which keeps events for services that read it, and the
// transactional outbox, from which the relay publishes each event to the broker.
//
// # What is promised
//
// An event is appended in the transaction of the change it reports ([Append]), and is
// acknowledged by the broker at least once, in no particular order, for as long as the
// database exists ([Relay]). While the broker is away, for hours or for good, no call fails:
// events wait. An event that the broker refuses while it takes others does not delay them. It
// is retried until it is published, an operator drops it ([Drop]), or it has been set aside
// and is older than what the event log keeps ([Store.ForgetRefused]). A consumer that needs
// every event compares [Store.Digests] with its own and reads [Store.Events].
//
// # How
//
// The event log is partitioned by days, made beforehand and dropped whole ([Store.KeepDays]).
// Rows of the outbox are deleted after the acknowledgement. Those that are refused move to a
// table of their own, with their own pace.
//
// # When it breaks
//
// A process that dies between an acknowledgement and its commit publishes again, with the
// same id. An acknowledgement that the broker then loses is noticed by whoever compares.
package outbox

import "github.com/jackc/pgx/v5/pgxpool"

// Store is the event log, the outbox and the refused events.
type Store struct{ pool *pgxpool.Pool }

// New returns the tables of a database.
func New(pool *pgxpool.Pool) *Store { return &Store{pool} }
