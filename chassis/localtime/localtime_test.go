package localtime

import (
	"testing"
	"time"
	_ "time/tzdata"
)

func TestRepeated(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		zone, at string
		want     bool
	}{
		{"Europe/Paris", "2026-10-24T23:59:59Z", false}, // 01:59:59
		{"Europe/Paris", "2026-10-25T00:00:00Z", true},  // 02:00, summer time
		{"Europe/Paris", "2026-10-25T00:30:00Z", true},
		{"Europe/Paris", "2026-10-25T00:59:59.999Z", true},
		{"Europe/Paris", "2026-10-25T01:00:00Z", true}, // 02:00, winter time
		{"Europe/Paris", "2026-10-25T01:30:00Z", true},
		{"Europe/Paris", "2026-10-25T01:59:59.999Z", true},
		{"Europe/Paris", "2026-10-25T02:00:00Z", false}, // 03:00
		{"Europe/Paris", "2027-10-31T00:30:00Z", true},
		{"Europe/Paris", "2027-10-31T01:30:00Z", true},
		{"Europe/Paris", "2027-10-31T02:00:00Z", false},
		{"Europe/Paris", "2026-10-26T00:30:00Z", false},
		// Clocks are set forward, and skip an hour.
		{"Europe/Paris", "2026-03-29T00:59:59Z", false},
		{"Europe/Paris", "2026-03-29T01:00:00Z", false},
		{"America/Miquelon", "2026-11-01T03:30:00Z", true},
		{"Australia/Lord_Howe", "2026-04-04T14:59:00Z", true}, // half an hour alone
		{"Australia/Lord_Howe", "2026-04-04T14:29:00Z", false},
		{"Australia/Lord_Howe", "2026-04-04T15:30:00Z", false},
		{"Indian/Reunion", "2026-10-25T00:30:00Z", false},
		{"UTC", "2026-10-25T00:30:00Z", false},
	} {
		zone, err := time.LoadLocation(row.zone)
		if err != nil {
			t.Fatal(err)
		}
		at, err := time.Parse(time.RFC3339, row.at)
		if err != nil {
			t.Fatal(err)
		}
		if got := Repeated(at.In(zone)); got != row.want {
			t.Errorf("%s (%s): %t", row.at, at.In(zone), got)
		}
	}
}

// Of all quarters of an hour of a year, those are repeated that another has the face of.
func TestRepeated_IsWhatIsShownTwice(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"Europe/Paris", "America/Miquelon", "Australia/Lord_Howe", "Pacific/Noumea", "Africa/Casablanca"} {
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		shown := make(map[string]int)
		begin := time.Date(2026, 1, 1, 0, 0, 0, 0, zone)
		for at := begin; at.Year() == 2026; at = at.Add(15 * time.Minute) {
			shown[at.Format(time.DateTime)]++
		}
		for at := begin; at.Year() == 2026; at = at.Add(15 * time.Minute) {
			if got, want := Repeated(at), shown[at.Format(time.DateTime)] == 2; got != want {
				t.Fatalf("%s: %t", at, got)
			}
		}
	}
}
