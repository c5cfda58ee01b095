package conversation

import (
	"testing"
	"time"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

// A term of years is at no time of the calendar shorter than they are, nor longer by more than
// two days.
func TestRetention_Years(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for years := int16(1); years <= MostYears; years++ {
		term := Retention(0).Of(years)
		for from := time.Date(2096, 2, 27, 0, 0, 0, 0, time.UTC); from.Year() < 2101; from = from.AddDate(0, 0, 1) {
			if more := from.Add(term).Sub(from.AddDate(int(years), 0, 0)); more < 0 || more > 2*day {
				t.Fatalf("%d years after %s end %s late", years, from.Format(time.DateOnly), more)
			}
		}
	}
}

func TestRetention_Expiry(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 12, 9, 30, 0, 0, time.UTC)
	const days = 24 * time.Hour
	for _, test := range []struct {
		name   string
		keep   Retention
		years  *int16
		status messagingpb.Status
		want   time.Time
	}{
		{"by the setting", Retention(1826 * days), nil, messagingpb.Status_CLOSED, time.Date(2031, 3, 12, 9, 30, 0, 0, time.UTC)},
		{"of its reason", Retention(1826 * days), new(int16(10)), messagingpb.Status_ANSWERED, time.Date(2036, 3, 12, 9, 30, 0, 0, time.UTC)},
		{"of its reason alone", 0, new(int16(1)), messagingpb.Status_WAITING_FOR_MEMBER, time.Date(2027, 3, 13, 9, 30, 0, 0, time.UTC)},
		{"for ever", 0, nil, messagingpb.Status_CLOSED, time.Time{}},
		{"not ended", Retention(1826 * days), new(int16(10)), messagingpb.Status_REOPENED, time.Time{}},
	} {
		row := &Row{Opened: Opened{RetentionYears: test.years}, Status: int16(test.status), UpdatedAt: at}
		got := test.keep.Expiry(row)
		if (got != nil) != !test.want.IsZero() || got != nil && !got.AsTime().Equal(test.want) {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}
