package ledger

import (
	"math/rand/v2"
	"time"

	"github.com/ma-messagerie/messagerie/services/notifier/internal/provider"
)

// calendar is the most that each next attempt waits; the last entry repeats. The
// wait is drawn evenly from nothing to that ("full jitter"), so that what failed
// together does not come back together.
var calendar = [...]time.Duration{
	5 * time.Second, 15 * time.Second, time.Minute, 5 * time.Minute, 15 * time.Minute,
	time.Hour, 2 * time.Hour, 4 * time.Hour, 6 * time.Hour,
}

// configFaultWait is for when our own settings are refused. Somebody must
// act first, and each row asks the provider again meanwhile.
const configFaultWait = time.Minute

// heldSpread is over how long those come back that a shut gate held up.
const heldSpread = 5 * time.Second

// untilExpiry is above any lifetime: the ledger never waits longer than to
// the end of one.
const untilExpiry = 1000 * time.Hour

// backoff draws the wait after the given number of attempts.
func backoff(attempts int) time.Duration {
	return jitter(calendar[min(max(attempts, 1), len(calendar))-1])
}

func jitter(limit time.Duration) time.Duration {
	return rand.N(limit) //nolint:gosec // spreads load, guards nothing
}

// Settle decides what becomes of a delivery after a call. This is the whole
// policy of repeats.
func Settle(d Delivery, by string, a provider.Answer, policy Doubts) Outcome {
	o := Outcome{Delivery: d, Class: a.Class, provider: by, status: a.Status, providerMessageID: a.MessageID, Reason: a.Reason}
	switch a.Class {
	case provider.Accepted, provider.Found:
		o.State = Accepted
	case provider.LookupFailed:
		// Nothing was sent, so this is no further doubt; it is asked again.
		o.State, o.wait = Unknown, a.RetryAfter+backoff(d.Attempts)
	case provider.Refused:
		o.State = Refused
	case provider.Suppressed:
		// No provider was called.
		o.State, o.provider, o.Uncounted = Suppressed, "", true
	case provider.NotSent:
		o.State, o.wait = Retry, a.RetryAfter+backoff(d.Attempts)
	case provider.ConfigFault:
		o.State, o.wait, o.Uncounted = Retry, configFaultWait+jitter(configFaultWait), true
	case provider.Held:
		// Nobody was called: no attempt, and no line in the log of attempts.
		o = GiveBack(d, a.RetryAfter+jitter(heldSpread), a.Reason)
	case provider.Unknown:
		o.State, o.wait = Unknown, max(policy.Wait, backoff(d.Attempts))
		if d.Channel == SMS && d.Unknowns > 0 && policy.Blind {
			o.wait = untilExpiry
		}
	}
	return o
}

// GiveBack is the outcome of a delivery that nothing was done about. It costs no attempt.
func GiveBack(d Delivery, wait time.Duration, reason string) Outcome {
	return Outcome{Delivery: d, State: Retry, wait: wait, Uncounted: true, Reason: reason}
}

// Postpone is the outcome of an SMS that must not leave before its recipient's day begins. It
// costs no attempt, and none of the SMS's time: afterwards it has as much as when it was claimed.
func Postpone(d Delivery, wait time.Duration) Outcome {
	o := GiveBack(d, wait, ReasonQuietHours)
	o.pauses = true
	return o
}
