package letter

import (
	"testing"
	"time"
)

func TestDates(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ at, long, short string }{
		{"2026-11-23T13:05:00Z", "lundi 23 novembre 2026 à\u00a014\u00a0h\u00a005", "23/11/2026 à 14h05"},
		{"2026-08-01T07:00:00Z", "samedi 1er août 2026 à\u00a09\u00a0h\u00a000", "01/08/2026 à 09h00"},
		// Midnight in Paris is the evening before in UTC, one hour or two.
		{"2026-12-31T23:00:00Z", "vendredi 1er janvier 2027 à\u00a00\u00a0h\u00a000", "01/01/2027 à 00h00"},
		{"2026-06-30T22:00:00Z", "mercredi 1er juillet 2026 à\u00a00\u00a0h\u00a000", "01/07/2026 à 00h00"},
		// The night in which clocks go forward, on either side.
		{"2026-03-29T00:59:00Z", "dimanche 29 mars 2026 à\u00a01\u00a0h\u00a059", "29/03/2026 à 01h59"},
		{"2026-03-29T01:00:00Z", "dimanche 29 mars 2026 à\u00a03\u00a0h\u00a000", "29/03/2026 à 03h00"},
		// The nights in which they go back, and show an hour twice.
		{"2026-10-24T23:59:59Z", "dimanche 25 octobre 2026 à\u00a01\u00a0h\u00a059", "25/10/2026 à 01h59"},
		{"2026-10-25T00:30:00Z", "dimanche 25 octobre 2026 à\u00a02\u00a0h\u00a030 (heure d’été)", "25/10/2026 à 02h30 (heure d'été)"},
		{"2026-10-25T01:30:00Z", "dimanche 25 octobre 2026 à\u00a02\u00a0h\u00a030 (heure d’hiver)", "25/10/2026 à 02h30 (heure d'hiver)"},
		{"2026-10-25T02:00:00Z", "dimanche 25 octobre 2026 à\u00a03\u00a0h\u00a000", "25/10/2026 à 03h00"},
		{"2027-10-31T00:00:00Z", "dimanche 31 octobre 2027 à\u00a02\u00a0h\u00a000 (heure d’été)", "31/10/2027 à 02h00 (heure d'été)"},
		{"2027-10-31T01:59:59Z", "dimanche 31 octobre 2027 à\u00a02\u00a0h\u00a059 (heure d’hiver)", "31/10/2027 à 02h59 (heure d'hiver)"},
	} {
		at, err := time.Parse(time.RFC3339, row.at)
		if err != nil {
			t.Fatal(err)
		}
		if got := longDate(at, "fr"); got != row.long {
			t.Errorf("longDate(%s) = %q, want %q", row.at, got, row.long)
		}
		if got := shortDate(at, "fr"); got != row.short {
			t.Errorf("shortDate(%s) = %q, want %q", row.at, got, row.short)
		}
	}
	for _, row := range []struct{ at, long, short string }{
		{"2026-11-23T13:05:00Z", "Monday 23 November 2026 at 14:05 (Paris\u00a0time)", "23 Nov 2026 at 14:05"},
		{"2026-10-25T00:30:00Z", "Sunday 25 October 2026 at 02:30 (Paris\u00a0summer time)", "25 Oct 2026 at 02:30 (summer time)"},
		{"2027-10-31T01:30:00Z", "Sunday 31 October 2027 at 02:30 (Paris\u00a0winter time)", "31 Oct 2027 at 02:30 (winter time)"},
		{"2027-10-31T02:30:00Z", "Sunday 31 October 2027 at 03:30 (Paris\u00a0time)", "31 Oct 2027 at 03:30"},
	} {
		at, err := time.Parse(time.RFC3339, row.at)
		if err != nil {
			t.Fatal(err)
		}
		if long, short := longDate(at, "en"), shortDate(at, "en"); long != row.long || short != row.short {
			t.Errorf("%s in English: %q and %q, want %q and %q", row.at, long, short, row.long, row.short)
		}
	}
}
