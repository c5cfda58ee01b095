// Package seeded names the bugs that can be switched on in a test build, to show
// that the fault harness (make chaos) catches what it says it does.
//
// Nothing of it is in a program that is built in the ordinary way: On is then a
// constant false, and the compiler drops what it guards. Built with the tag
// `seeded`, MESSAGERIE_SEEDED_BUG switches on the one bug that it names, and a
// process that was given a name that is not here does not start.
//
// Each bug is a mistake that was made in some real system of this kind. It breaks
// exactly one of the promises in the package documentation of the code it is in.
package seeded

// Bug is one of them.
type Bug string

// The bugs, by the promise that they break.
const (
	// AnswerBeforeCommit: a submission is answered before its transaction has
	// committed.
	AnswerBeforeCommit Bug = "answer-before-commit"
	// DeleteBeforePublish: the relay deletes from the outbox, commits, and then
	// publishes.
	DeleteBeforePublish Bug = "delete-before-publish"
	// SwallowedPublishError: the relay takes an event that the broker did not
	// acknowledge for published.
	SwallowedPublishError Bug = "swallowed-publish-error"
	// AckBeforeCommit: a consumer acknowledges a batch before it is handled.
	AckBeforeCommit Bug = "ack-before-commit"
	// SendInsideIngest: the provider is called while an event is taken in, before
	// anything about it is stored.
	SendInsideIngest Bug = "send-inside-ingest"
	// DedupeByBrokerOnly: the ledger does not tell an event that comes twice; it
	// trusts the broker's duplicate window.
	DedupeByBrokerOnly Bug = "dedupe-by-broker-only"
	// NoFencing: the outcome of an attempt is recorded whoever has the delivery by
	// then.
	NoFencing Bug = "no-fencing"
	// ReplayIgnoresLedger: replaying dead letters sends again what was accepted.
	ReplayIgnoresLedger Bug = "replay-ignores-ledger"
	// ProcessClock: leases go by each process's own clock, which is
	// MESSAGERIE_CLOCK_SKEW (a duration) off.
	ProcessClock Bug = "process-clock"
	// UnknownIsNotSent: a call whose end is not known is repeated as if it had
	// certainly not been taken.
	UnknownIsNotSent Bug = "unknown-is-not-sent"
	// FormerPrimary: connections to a primary that has become a standby are kept.
	FormerPrimary Bug = "former-primary"
	// WaitsForEver: the relay waits for the database as long as it takes.
	WaitsForEver Bug = "waits-for-ever"
	// RefusedIsDropped: the relay forgets an event that the broker refuses while it takes
	// others.
	RefusedIsDropped Bug = "refused-is-dropped"
	// MarkNeverGoesBack: up to where the ledger is complete is believed although it is
	// still to come.
	MarkNeverGoesBack Bug = "mark-never-goes-back"
	// LeapIsBelieved: when the database's clock leaps ahead, leases and waits are over.
	LeapIsBelieved Bug = "leap-is-believed"
	// ConnectedIsWorking: watches are told to look for themselves only while there is no
	// connection to the broker.
	ConnectedIsWorking Bug = "connected-is-working"
	// DrawnOnce: a value that the service draws and that is in use is not drawn again.
	DrawnOnce Bug = "drawn-once"
)

// All are the bugs there are.
var All = []Bug{
	AnswerBeforeCommit, DeleteBeforePublish, SwallowedPublishError, AckBeforeCommit, SendInsideIngest,
	DedupeByBrokerOnly, NoFencing, ReplayIgnoresLedger, ProcessClock, UnknownIsNotSent,
	FormerPrimary, WaitsForEver, RefusedIsDropped, MarkNeverGoesBack, LeapIsBelieved,
	ConnectedIsWorking, DrawnOnce,
}
