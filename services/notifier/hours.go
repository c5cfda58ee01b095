package notifier

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ma-messagerie/messagerie/chassis/contact"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/ledger"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/letter"
)

const (
	// recipientsWait is for when the messaging service cannot be asked.
	recipientsWait = 2 * time.Second
	// smsLate is how old a submission may be for its SMS to leave at any hour: the
	// member has just pressed the button and is awake. Later, only within Hours.
	smsLate = 10 * time.Minute
	// horizon is within what time the hours of each zone begin at least once, also where an
	// hour is skipped; zones in which they never are at the same time show it within that, too.
	horizon = 48 * time.Hour
	// quarter divides the differences of all time zones from UTC, and between the moments at
	// which they change: within one, no clock comes to another full hour.
	quarter = 15 * time.Minute
)

// Hours are those of a day at which an SMS may leave, from one full hour up to another, by
// the clocks where its number lives: 8-20 is from 8 o'clock until 19:59, 0-24 is at any time.
//
// A number that may live in several time zones, such as one of Polynesia, has the hours that
// they have in common. Where they lie so far apart that they have none, it has those at which
// it is day in most of them: an SMS waits for a better moment, and not for one that never comes.
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

// quiet reports whether an SMS to a number must wait for its day, and how long. The time
// is that of the claim, by the database's clock.
func (h Hours) quiet(d ledger.Delivery, phone string) (wait time.Duration, night bool) {
	if d.Channel != ledger.SMS || awaited(d) {
		return 0, false
	}
	wait = h.next(d.ClaimedAt, zonesOf(phone)).Sub(d.ClaimedAt)
	return wait, wait > 0
}

// awaited reports whether an SMS leaves at any hour, because whoever it is for has just asked
// for it and waits: an acknowledgement while it is fresh. Here belongs whatever else is such,
// as codes are. What the fund sends of its own accord, a reply for one, is not, however fresh.
func awaited(d ledger.Delivery) bool {
	return d.EventType == ledger.MessageSubmitted && d.ClaimedAt.Sub(d.OccurredAt) <= smsLate
}

// zonesOf are the time zones in which a number may live, those of the fund for one that cannot
// be read.
func zonesOf(phone string) []*time.Location {
	number, err := contact.Phone(phone)
	if err != nil {
		return []*time.Location{letter.Paris}
	}
	return number.Zones()
}

// next is the first moment from a moment on that is within the hours in all zones, or else in
// as many as ever are at once.
func (h Hours) next(at time.Time, zones []*time.Location) time.Time {
	best, most := at.Add(horizon), 0
	for t := at; t.Before(at.Add(horizon)) && most < len(zones); t = t.Truncate(quarter).Add(quarter) {
		open := 0
		for _, zone := range zones {
			if hour := t.In(zone).Hour(); hour >= h.from && hour < h.until {
				open++
			}
		}
		if open > most {
			best, most = t, open
		}
	}
	return best
}
