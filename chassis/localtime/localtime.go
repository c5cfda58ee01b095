// Package localtime has the time zone of the fund, and tells moments apart that a clock does not.
//
// When summer time ends, clocks go back, and show an hour twice: in Paris, on 25 October 2026,
// 02:30 is 00:30 UTC and an hour later again 01:30 UTC. Whoever writes down a local time of such
// an hour has to say which of the two it is; in Go's terms, [time.Time.IsDST] is true of the
// first.
//
// It goes by the rules of the time zone that are built in. A state that changes its rules at
// short notice is known with the next build.
package localtime

import (
	"time"
	_ "time/tzdata" // the container has no time zones of its own
)

// Paris is the fund's time zone: of its working days, of the times that members read, and of
// numbers of which nobody knows where they live.
var Paris = mustLocation("Europe/Paris")

func mustLocation(name string) *time.Location {
	location, err := time.LoadLocation(name)
	if err != nil {
		panic(err) // tzdata is linked in
	}
	return location
}

// Repeated reports whether the clocks of the moment's location show its time of day twice on
// that day.
func Repeated(t time.Time) bool {
	from, until := t.ZoneBounds()
	return !until.IsZero() && until.Sub(t) <= setBack(until) || !from.IsZero() && t.Sub(from) < setBack(from)
}

// setBack is by how much clocks are set back at a moment; negative when they are set forward.
func setBack(at time.Time) time.Duration {
	_, before := at.Add(-time.Nanosecond).Zone()
	_, after := at.Zone()
	return time.Duration(before-after) * time.Second
}
