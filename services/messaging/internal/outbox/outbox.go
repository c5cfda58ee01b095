// Package outbox is how what has happened gets out: the event log, which keeps events for
// those who ask, and the outbox, from which the relay publishes each to the broker.
//
// # What is promised
//
// An event is appended in the transaction of what it tells ([Append]), and is
// acknowledged by the broker at least once, in no particular order, for as long as the
// database exists ([Relay]). Losing the broker, for hours or for good, refuses nothing:
// events wait. What the broker refuses while it takes others is out of their way, tried
// again, and given up by operators alone. Whoever needs every event compares [Store.Digests]
// with its own, and asks for [Store.Events].
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
