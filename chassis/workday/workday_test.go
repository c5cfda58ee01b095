package workday

import (
	"strings"
	"testing"
	"time"

	"github.com/ma-messagerie/messagerie/chassis/localtime"
)

// The eleven holidays, as the State has published them.
func TestHolidays(t *testing.T) {
	t.Parallel()
	for year, want := range map[int]string{
		2008: "01-01 03-24 05-01 05-08 05-01 05-12 07-14 08-15 11-01 11-11 12-25", // Ascension on Labour Day
		2011: "01-01 04-25 05-01 05-08 06-02 06-13 07-14 08-15 11-01 11-11 12-25",
		2024: "01-01 04-01 05-01 05-08 05-09 05-20 07-14 08-15 11-01 11-11 12-25",
		2025: "01-01 04-21 05-01 05-08 05-29 06-09 07-14 08-15 11-01 11-11 12-25",
		2026: "01-01 04-06 05-01 05-08 05-14 05-25 07-14 08-15 11-01 11-11 12-25",
		2027: "01-01 03-29 05-01 05-08 05-06 05-17 07-14 08-15 11-01 11-11 12-25",
		2038: "01-01 04-26 05-01 05-08 06-03 06-14 07-14 08-15 11-01 11-11 12-25", // the latest Easter there is
	} {
		var got []string
		for _, day := range Holidays(year) {
			got = append(got, day.Format("01-02"))
			if day.Year() != year || Has(day) || Has(day.Add(23*time.Hour)) {
				t.Errorf("%s is a working day", day)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%d: %s, want %s", year, strings.Join(got, " "), want)
		}
	}
}

// Easter, over centuries: the exceptions of the algorithm and the ends of its range.
func TestEaster(t *testing.T) {
	t.Parallel()
	for year, want := range map[int]string{
		1583: "04-10", 1818: "03-22", 1886: "04-25", 1943: "04-25", 1954: "04-18", 1981: "04-19", 2000: "04-23", 2049: "04-18", 2076: "04-19", 2100: "03-28", 2285: "03-22",
	} {
		month, day := easter(year)
		if got := time.Date(year, month, day, 0, 0, 0, 0, time.UTC); got.Format("01-02") != want || got.Weekday() != time.Sunday {
			t.Errorf("%d: %s, want %s", year, got.Format("Mon 01-02"), want)
		}
	}
}

func TestBefore(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		receipt string
		days    int
		want    string
	}{
		{"2026-11-25T18:42:00Z", 3, "2026-12-01"}, // Thursday, Friday, Monday
		{"2026-11-23T09:30:00Z", 1, "2026-11-25"},
		{"2026-11-23T09:30:00Z", 0, "2026-11-24"},
		{"2026-11-26T09:30:00Z", 1, "2026-11-30"},  // until Friday evening: before Monday
		{"2026-11-28T09:30:00Z", 1, "2026-12-01"},  // on a Saturday
		{"2026-11-29T23:30:00Z", 1, "2026-12-02"},  // Monday in Paris
		{"2026-11-10T09:30:00Z", 1, "2026-11-13"},  // Armistice Day
		{"2026-12-24T09:30:00Z", 5, "2027-01-05"},  // Christmas, New Year's Day
		{"2027-05-04T09:30:00Z", 2, "2027-05-10"},  // Ascension on Thursday
		{"2026-03-27T09:30:00Z", 10, "2026-04-14"}, // the change of clocks, Easter Monday
		{"2026-07-13T21:59:00Z", 1, "2026-07-16"},
		{"2026-07-13T22:00:00Z", 1, "2026-07-16"}, // the holiday has begun
	} {
		receipt, err := time.Parse(time.RFC3339, row.receipt)
		if err != nil {
			t.Fatal(err)
		}
		got := Before(receipt, row.days)
		if got.Format(time.DateOnly) != row.want || !got.Equal(time.Date(got.Year(), got.Month(), got.Day(), 0, 0, 0, 0, localtime.Paris)) {
			t.Errorf("%d working days from %s: before %s, want %s", row.days, row.receipt, got, row.want)
		}
	}
}
