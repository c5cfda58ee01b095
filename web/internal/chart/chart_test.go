package chart

import (
	"strconv"
	"strings"
	"testing"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

func TestDraw(t *testing.T) {
	t.Parallel()
	chart := Draw([]*messagingpb.DayFigures{{Date: "2026-11-22", Received: 3, Answered: 1}, {Date: "2026-11-23", Answered: 2}})
	if chart.Top != 4 || chart.Half != 2 || chart.Received.Most != 3 || chart.Answered.Most != 2 || len(chart.Figures) != 2 {
		t.Errorf("%+v", chart)
	}
	for name, row := range map[string]struct{ got, want Bar }{
		"received": {chart.Received.Bars[0], Bar{36, height / 4, 288, height * 3 / 4}},
		"nothing":  {chart.Received.Bars[1], Bar{396, height, 288, 0}},
		"answered": {chart.Answered.Bars[1], Bar{396, height / 2, 288, height / 2}},
	} {
		if row.got != row.want {
			t.Errorf("%s: %+v", name, row.got)
		}
	}
	if empty := Draw(nil); empty.Top != 2 || len(empty.Received.Bars) != 0 || len(empty.Marks) != 0 {
		t.Errorf("%+v", empty)
	}
}

// The days named are the ends and the middle, each once.
func TestDraw_Marks(t *testing.T) {
	t.Parallel()
	for days, want := range map[int]string{1: "0", 2: "0 1", 3: "0 1 2", 7: "0 3 6", 30: "0 14 29"} {
		var list []*messagingpb.DayFigures
		for i := range days {
			list = append(list, &messagingpb.DayFigures{Date: strconv.Itoa(i)})
		}
		if got := strings.Join(Draw(list).Marks, " "); got != want {
			t.Errorf("%d days: %s, want %s", days, got, want)
		}
	}
}

func TestPercent(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		part, whole int32
		want        int
	}{{0, 0, 0}, {2, 3, 67}, {3, 3, 100}} {
		if got := Percent(row.part, row.whole); got != row.want {
			t.Errorf("%d of %d: %d", row.part, row.whole, got)
		}
	}
}
