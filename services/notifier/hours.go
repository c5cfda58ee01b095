package notifier

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ma-messagerie/messagerie/services/notifier/internal/ledger"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/letter"
)

const (
	// recipientsWait is for when the messaging service cannot be asked.
	recipientsWait = 2 * time.Second
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

// quiet reports whether an SMS must wait for the morning, and how long. The time
// is that of the claim, by the database's clock.
func (h Hours) quiet(d ledger.Delivery) (time.Duration, bool) {
	if d.Channel != ledger.SMS || d.ClaimedAt.Sub(d.OccurredAt) <= smsLate {
		return 0, false
	}
	now := d.ClaimedAt.In(letter.Paris)
	if now.Hour() >= h.from && now.Hour() < h.until {
		return 0, false
	}
	day := now.Day()
	if now.Hour() >= h.until {
		day++
	}
	morning := time.Date(now.Year(), now.Month(), day, h.from, 0, 0, 0, letter.Paris)
	return morning.Sub(now), true
}
