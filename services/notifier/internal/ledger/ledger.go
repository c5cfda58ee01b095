// Package ledger keeps what became of each notification: one row in PostgreSQL for each
// (event, channel), every statement about it, and the rules by which it moves.
//
// What is promised: an event that comes twice is planned once (Plan). A delivery is given
// to one sender at a time (Claim), and an outcome changes it only as long as nobody has
// claimed it since (Record). Every wait ends: a lapsed lease and a lifetime that is over
// are ended by whoever sweeps (Sweep). What a provider reports moves a delivery forward and
// never back (Report). What ended without reaching anybody is listed until it is replayed
// or dropped (DeadLetters, Replay, Drop).
//
// How: each method is one statement, or one short transaction, that locks rows in the order
// of (event, channel). Leases and schedules go by the database's clock, whose leaps are
// noticed (wallClock). Settle is the policy of repeats: what an answer of a provider makes
// of a delivery. How much waits and how many dead letters there are is kept by triggers and
// added up by Fold.
//
// When it breaks: without PostgreSQL nothing moves. A ledger restored from a backup sends
// again what was sent since. A process that starts while the database's clock is wrong
// cannot know it, and believes the clock.
package ledger

import (
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Channel is a way to reach a member.
type Channel string

// The channels, as the ledger and the contract name them.
const (
	Email Channel = "EMAIL"
	SMS   Channel = "SMS"
)

// Channels are all of them.
var Channels = []Channel{Email, SMS}

// EventType is what a delivery is about.
type EventType string

// The types of events that are notified, as the broker names them.
const (
	MessageSubmitted EventType = "message-submitted"
	ReplyPosted      EventType = "reply-posted"
)

// State is how far a delivery has come.
type State string

// The states; see the package notifier for how they follow each other.
const (
	Planned    State = "planned"    // never tried
	Sending    State = "sending"    // leased to a sender
	Retry      State = "retry"      // certainly not sent; to be tried again
	Unknown    State = "unknown"    // perhaps sent; waits before the provider is asked, or it is sent again
	Accepted   State = "accepted"   // a provider took it
	Refused    State = "refused"    // a provider refused it for good
	Expired    State = "expired"    // its time ran out
	Suppressed State = "suppressed" // nobody to send it to, or nothing to send
	Delivered  State = "delivered"  // accepted, and reported to have arrived
	Bounced    State = "bounced"    // accepted, and reported to have been given back
	Complained State = "complained" // delivered, and reported as unwanted
)

// Lifetimes of a delivery. A late e-mail still serves, so its time runs from
// when it was planned, and an outage of the broker takes nothing from it. An SMS
// only confirms what has just happened, so its time runs from then; what it waits for
// its recipient's day is not counted (Postpone).
const (
	emailLifetime = 72 * time.Hour
	smsLifetime   = 4 * time.Hour
)

// Ledger is the ledger in one database. It is safe for concurrent use, by any number of
// processes.
type Ledger struct {
	pool   *pgxpool.Pool
	doubts Doubts
	clock  wallClock
}

// New returns the ledger in a database. Doubts are settled by the policy.
func New(pool *pgxpool.Pool, policy Doubts) *Ledger {
	return &Ledger{pool: pool, doubts: policy}
}

// Doubts is what is done about a delivery that may have been sent.
type Doubts struct {
	// Wait is how long it waits for news before it is asked about or sent again.
	Wait time.Duration
	// Blind means that nobody reports about SMS and nobody can be asked. One is then
	// repeated once, and at a second doubt no more: two texts are a nuisance, and
	// the e-mail says the same.
	Blind bool
}
