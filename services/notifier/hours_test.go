package notifier

import (
	"testing"
	"time"

	"github.com/ma-messagerie/messagerie/services/notifier/internal/ledger"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/letter"
)

func TestQuietHours(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name     string
		channel  ledger.Channel
		now      string // in Paris
		age      time.Duration
		attempts int
		wait     time.Duration
	}{
		{"first and fresh, at night", ledger.SMS, "2026-11-23 03:00", 10 * time.Minute, 1, 0},
		{"first but late, at night", ledger.SMS, "2026-11-23 03:00", 10*time.Minute + time.Second, 1, 5 * time.Hour},
		{"repeat while fresh, at night", ledger.SMS, "2026-11-23 03:00", 10 * time.Minute, 2, 0},
		{"repeat, at night", ledger.SMS, "2026-11-23 03:00", time.Hour, 2, 5 * time.Hour},
		{"repeat, just before opening", ledger.SMS, "2026-11-23 07:59", time.Hour, 2, time.Minute},
		{"repeat, at opening", ledger.SMS, "2026-11-23 08:00", time.Hour, 2, 0},
		{"repeat, last minute", ledger.SMS, "2026-11-23 19:59", time.Hour, 2, 0},
		{"repeat, at closing", ledger.SMS, "2026-11-23 20:00", time.Hour, 2, 12 * time.Hour},
		{"over the month's end", ledger.SMS, "2026-11-30 21:00", time.Hour, 2, 11 * time.Hour},
		{"the night clocks go forward", ledger.SMS, "2026-03-28 20:00", time.Hour, 2, 11 * time.Hour},
		{"the night clocks go back", ledger.SMS, "2026-10-24 20:00", time.Hour, 2, 13 * time.Hour},
		{"e-mail at any hour", ledger.Email, "2026-11-23 03:00", 48 * time.Hour, 9, 0},
	} {
		now, err := time.ParseInLocation("2006-01-02 15:04", row.now, letter.Paris)
		if err != nil {
			t.Fatal(err)
		}
		d := ledger.Delivery{Channel: row.channel, Attempts: row.attempts, ClaimedAt: now.UTC(), OccurredAt: now.Add(-row.age)}
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
	night := ledger.Delivery{Channel: ledger.SMS, ClaimedAt: time.Date(2026, 11, 23, 2, 0, 0, 0, letter.Paris), OccurredAt: time.Date(2026, 11, 23, 1, 0, 0, 0, letter.Paris)}
	if wait, late := (Hours{0, 24}).quiet(night); late {
		t.Errorf("at any hour it waits %s", wait)
	}
}
