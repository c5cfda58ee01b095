package chart

import (
	"testing"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

func TestDraw(t *testing.T) {
	t.Parallel()
	chart := Draw([]*messagingpb.DayFigures{{Date: "2026-11-22", Received: 4, Answered: 1}, {Date: "2026-11-23"}})
	if chart.Most != 4 || len(chart.Bars) != 2 || chart.Bars[0].Received != height || chart.Bars[0].ReceivedY != 0 || chart.Bars[0].Answer != height/4 || chart.Bars[1].Received != 0 {
		t.Errorf("%+v", chart)
	}
	if empty := Draw(nil); empty.Most != 1 || len(empty.Bars) != 0 {
		t.Errorf("%+v", empty)
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
