package notifier

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
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

const (
	// configFaultWait is for when our own settings are refused. Somebody must
	// act first, and each row asks the provider again meanwhile.
	configFaultWait = time.Minute
	// heldSpread is over how long those come back that a shut gate held up.
	heldSpread = 5 * time.Second
	// recipientsWait is for when the messaging service cannot be asked.
	recipientsWait = 2 * time.Second
	// untilExpiry is above any lifetime: the ledger never waits longer than to
	// the end of one.
	untilExpiry = 1000 * time.Hour
	// smsLate is how old an event may be for its SMS to leave at any hour: the
	// member has just pressed the button and is awake. Later, only within Hours.
	smsLate = 10 * time.Minute
)

// Hours are those of a day in Paris at which a late SMS may leave, from one full hour up
// to another: 8-20 is from 8 o'clock until 19:59, 0-24 is at any time.
type Hours struct{ from, until int }

var errHours = errors.New("must be two full hours such as 8-20, the first below the second, at most 24")

// UnmarshalText reads the form 8-20.
func (h *Hours) UnmarshalText(text []byte) error {
	first, second, _ := strings.Cut(string(text), "-")
	from, err1 := strconv.Atoi(first)
	until, err2 := strconv.Atoi(second)
	if err1 != nil || err2 != nil || from < 0 || from >= until || until > 24 {
		return errHours
	}
	h.from, h.until = from, until
	return nil
}

// String is the form that is read.
func (h Hours) String() string { return fmt.Sprintf("%d-%d", h.from, h.until) }

// backoff draws the wait after the given number of attempts.
func backoff(attempts int) time.Duration {
	return jitter(calendar[min(max(attempts, 1), len(calendar))-1])
}

func jitter(limit time.Duration) time.Duration {
	return rand.N(limit) //nolint:gosec // spreads load, guards nothing
}

// quiet tells whether an SMS must wait for the morning, and how long. The time
// is that of the claim, by the database's clock.
func (h Hours) quiet(d delivery) (time.Duration, bool) {
	if d.Channel != bySMS || d.Claimed.Sub(d.Occurred) <= smsLate {
		return 0, false
	}
	now := d.Claimed.In(paris)
	if now.Hour() >= h.from && now.Hour() < h.until {
		return 0, false
	}
	day := now.Day()
	if now.Hour() >= h.until {
		day++
	}
	morning := time.Date(now.Year(), now.Month(), day, h.from, 0, 0, 0, paris)
	return morning.Sub(now), true
}

// doubts is what is done about a delivery that may have been sent.
type doubts struct {
	// wait is how long it waits for news before it is asked about or sent again.
	wait time.Duration
	// blind: nobody reports about SMS and nobody can be asked. One is then
	// repeated once, and at a second doubt no more: two texts are a nuisance, and
	// the e-mail says the same.
	blind bool
}

// settle decides what becomes of a delivery after a call. This is the whole
// policy of repeats.
func settle(d delivery, by string, a provider.Answer, policy doubts) outcome {
	o := outcome{delivery: d, class: a.Class, provider: by, status: a.Status, providerMessageID: a.MessageID, reason: a.Reason}
	switch a.Class {
	case provider.Accepted, provider.Found:
		o.state = accepted
	case provider.LookupFailed:
		// Nothing was sent, so this is no further doubt; it is asked again.
		o.state, o.wait = unknown, a.RetryAfter+backoff(d.Attempts)
	case provider.Refused:
		o.state = refused
	case provider.Suppressed:
		// No provider was called.
		o.state, o.provider, o.uncounted = suppressed, "", true
	case provider.NotSent:
		o.state, o.wait = retry, a.RetryAfter+backoff(d.Attempts)
	case provider.ConfigFault:
		o.state, o.wait, o.uncounted = retry, configFaultWait+jitter(configFaultWait), true
	case provider.Held:
		// Nobody was called: no attempt, and no line in the log of attempts.
		o = giveBack(d, a.RetryAfter+jitter(heldSpread), a.Reason)
	case provider.Unknown:
		o.state, o.wait = unknown, max(policy.wait, backoff(d.Attempts))
		if d.Channel == bySMS && d.Unknowns > 0 && policy.blind {
			o.wait = untilExpiry
		}
	}
	return o
}

// giveBack returns a delivery that nothing was done about. It takes no attempt.
func giveBack(d delivery, wait time.Duration, reason string) outcome {
	return outcome{delivery: d, state: retry, wait: wait, uncounted: true, reason: reason}
}
