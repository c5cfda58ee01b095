package notifier

import (
	"testing"
	"time"

	"github.com/ma-messagerie/messagerie/services/notifier/internal/provider"
)

func TestQuietHours(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name     string
		channel  channel
		now      string // in Paris
		age      time.Duration
		attempts int
		wait     time.Duration
	}{
		{"first and fresh, at night", bySMS, "2026-11-23 03:00", 10 * time.Minute, 1, 0},
		{"first but late, at night", bySMS, "2026-11-23 03:00", 10*time.Minute + time.Second, 1, 5 * time.Hour},
		{"repeat while fresh, at night", bySMS, "2026-11-23 03:00", 10 * time.Minute, 2, 0},
		{"repeat, at night", bySMS, "2026-11-23 03:00", time.Hour, 2, 5 * time.Hour},
		{"repeat, just before opening", bySMS, "2026-11-23 07:59", time.Hour, 2, time.Minute},
		{"repeat, at opening", bySMS, "2026-11-23 08:00", time.Hour, 2, 0},
		{"repeat, last minute", bySMS, "2026-11-23 19:59", time.Hour, 2, 0},
		{"repeat, at closing", bySMS, "2026-11-23 20:00", time.Hour, 2, 12 * time.Hour},
		{"over the month's end", bySMS, "2026-11-30 21:00", time.Hour, 2, 11 * time.Hour},
		{"the night clocks go forward", bySMS, "2026-03-28 20:00", time.Hour, 2, 11 * time.Hour},
		{"the night clocks go back", bySMS, "2026-10-24 20:00", time.Hour, 2, 13 * time.Hour},
		{"e-mail at any hour", byEmail, "2026-11-23 03:00", 48 * time.Hour, 9, 0},
	} {
		now, err := time.ParseInLocation("2006-01-02 15:04", row.now, paris)
		if err != nil {
			t.Fatal(err)
		}
		d := delivery{Channel: row.channel, Attempts: row.attempts, Claimed: now.UTC(), Occurred: now.Add(-row.age)}
		wait, late := Hours{8, 20}.quiet(d)
		if wait != row.wait || late != (row.wait > 0) {
			t.Errorf("%s: waits %s (%t), want %s", row.name, wait, late, row.wait)
		}
	}
}

func TestHours(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Hours{"8-20": {8, 20}, "0-24": {0, 24}, "": {}, "8": {}, "20-8": {}, "8-8": {}, "8-25": {}, "-1-8": {}, "8h-20h": {}, "8-20-22": {}} {
		var got Hours
		if err := got.UnmarshalText([]byte(text)); got != want || (err == nil) != (want != Hours{}) {
			t.Errorf("%q: %v, %v, want %v", text, got, err, want)
		}
	}
	night := delivery{Channel: bySMS, Claimed: time.Date(2026, 11, 23, 2, 0, 0, 0, paris), Occurred: time.Date(2026, 11, 23, 1, 0, 0, 0, paris)}
	if wait, late := (Hours{0, 24}).quiet(night); late {
		t.Errorf("at any hour it waits %s", wait)
	}
}

func TestSettle(t *testing.T) {
	t.Parallel()
	const ambiguity = 3 * time.Minute
	for _, row := range []struct {
		name      string
		class     provider.Class
		channel   channel
		attempts  int
		unknowns  int
		after     time.Duration
		state     state
		from, to  time.Duration
		uncounted bool
	}{
		{"accepted", provider.Accepted, byEmail, 1, 0, 0, accepted, 0, 0, false},
		{"refused", provider.Refused, byEmail, 1, 0, 0, refused, 0, 0, false},
		{"found", provider.Found, bySMS, 2, 1, 0, accepted, 0, 0, false},
		{"not told, first", provider.LookupFailed, byEmail, 2, 1, 0, unknown, 0, 15 * time.Second, false},
		{"not told, throttled", provider.LookupFailed, byEmail, 2, 1, time.Minute, unknown, time.Minute, 75 * time.Second, false},
		{"not told, SMS", provider.LookupFailed, bySMS, 4, 1, 0, unknown, 0, 5 * time.Minute, false},
		{"suppressed", provider.Suppressed, bySMS, 1, 0, 0, suppressed, 0, 0, true},
		{"not sent, first", provider.NotSent, byEmail, 1, 0, 0, retry, 0, 5 * time.Second, false},
		{"not sent, fourth", provider.NotSent, byEmail, 4, 0, 0, retry, 0, 5 * time.Minute, false},
		{"not sent, past the calendar", provider.NotSent, byEmail, 99, 0, 0, retry, 0, 6 * time.Hour, false},
		{"throttled", provider.NotSent, byEmail, 1, 0, time.Minute, retry, time.Minute, 65 * time.Second, false},
		{"our fault", provider.ConfigFault, byEmail, 3, 0, 0, retry, time.Minute, 2 * time.Minute, true},
		{"unknown", provider.Unknown, byEmail, 1, 0, 0, unknown, ambiguity, ambiguity, false},
		{"unknown again, e-mail", provider.Unknown, byEmail, 9, 8, 0, unknown, ambiguity, 6 * time.Hour, false},
		{"unknown, SMS", provider.Unknown, bySMS, 1, 0, 0, unknown, ambiguity, ambiguity, false},
		{"unknown again, SMS", provider.Unknown, bySMS, 2, 1, 0, unknown, untilExpiry, untilExpiry, false},
	} {
		for range 200 {
			d := delivery{Channel: row.channel, Attempts: row.attempts, Unknowns: row.unknowns}
			o := settle(d, "p", provider.Answer{Class: row.class, RetryAfter: row.after}, doubts{wait: ambiguity, blind: true})
			if o.state != row.state || o.uncounted != row.uncounted || o.wait < row.from || o.wait > row.to {
				t.Fatalf("%s: %s, waits %s, uncounted %t", row.name, o.state, o.wait, o.uncounted)
			}
			// Where somebody can tell, an SMS in doubt is like an e-mail in doubt.
			o = settle(d, "p", provider.Answer{Class: row.class, RetryAfter: row.after}, doubts{wait: ambiguity})
			if o.state != row.state || o.wait == untilExpiry {
				t.Fatalf("%s, not blind: %s, waits %s", row.name, o.state, o.wait)
			}
		}
	}
}
