package provider

import (
	"context"
	"testing"
	"time"

	"github.com/ma-messagerie/messagerie/services/notifier/internal/notifiertest"
)

// answering is a provider that gives a prepared answer and counts its calls.
type answering struct {
	answer Answer
	calls  int
}

func (a *answering) Mail(context.Context, Email) Answer {
	a.calls++
	return a.answer
}

func TestGate(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name  string
		told  Answer
		calls int
		shut  bool
	}{
		{"one call fails", Answer{Class: NotSent, Status: 503}, 1, false},
		{"most calls fail", Answer{Class: NotSent, Status: 503}, breakerCalls, true},
		{"most calls end in doubt", Answer{Class: Unknown}, breakerCalls, true},
		{"our credentials are refused, once", Answer{Class: ConfigFault, Status: 401}, 1, true},
		{"messages are refused", Answer{Class: Refused, Status: 400}, 3 * breakerCalls, false},
		{"throttled without a time", Answer{Class: NotSent, Status: 429}, 3 * breakerCalls, false},
		{"throttled with a time", Answer{Class: NotSent, Status: 429, RetryAfter: time.Minute}, 1, true},
		{"all is well", Answer{Class: Accepted}, 3 * breakerCalls, false},
	}
	for _, row := range rows {
		g := NewGate("p", time.Hour)
		for range row.calls {
			g.through(func() Answer { return row.told })
		}
		called := false
		got := g.through(func() Answer { called = true; return Answer{Class: Accepted} })
		if called == row.shut || (got.Class == Held) != row.shut {
			t.Errorf("%s: called %t, %+v", row.name, called, got)
		}
		if room := g.Room(8); (room == 0) != row.shut {
			t.Errorf("%s: room for %d", row.name, room)
		}
		if row.shut && got.RetryAfter <= 0 {
			t.Errorf("%s: comes back at once", row.name)
		}
	}
}

// A shut gate lets one delivery try whether the provider is back.
func TestGateTriesAgain(t *testing.T) {
	t.Parallel()
	g := NewGate("p", time.Millisecond)
	fail := func() Answer { return Answer{Class: ConfigFault} }
	g.through(fail)
	notifiertest.Eventually(t, "one may try", func() bool { return g.Room(8) == 1 })
	if got := g.through(fail); got.Class != ConfigFault {
		t.Fatalf("the try was held: %+v", got)
	}
	notifiertest.Eventually(t, "one may try again", func() bool { return g.Room(8) == 1 })
	g.through(func() Answer { return Answer{Class: Accepted} })
	if g.Room(8) != 8 {
		t.Errorf("room for %d after a success", g.Room(8))
	}
}

// A mail goes to the second provider only if it was certainly not sent by the
// first.
func TestFailOver(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name          string
		first, second Answer
		want          Answer
		asked         int
	}{
		{"the first takes it", Answer{Class: Accepted}, Answer{Class: Accepted}, Answer{Class: Accepted, Provider: "a"}, 0},
		{"the first cannot be reached", Answer{Class: NotSent}, Answer{Class: Accepted}, Answer{Class: Accepted, Provider: "b"}, 1},
		{"the first throttles", Answer{Class: NotSent, Status: 429}, Answer{Class: Accepted}, Answer{Class: Accepted, Provider: "b"}, 1},
		{"our settings are refused", Answer{Class: ConfigFault}, Answer{Class: Accepted}, Answer{Class: Accepted, Provider: "b"}, 1},
		{"in doubt", Answer{Class: Unknown}, Answer{Class: Accepted}, Answer{Class: Unknown, Provider: "a"}, 0},
		{"refused for good", Answer{Class: Refused}, Answer{Class: Accepted}, Answer{Class: Refused, Provider: "a"}, 0},
		{"neither", Answer{Class: NotSent, Reason: "1"}, Answer{Class: NotSent, Reason: "2"}, Answer{Class: NotSent, Reason: "1", Provider: "a"}, 1},
		{"settings, then not sent", Answer{Class: ConfigFault}, Answer{Class: NotSent}, Answer{Class: NotSent, Provider: "b"}, 1},
		{"the second in doubt", Answer{Class: NotSent}, Answer{Class: Unknown}, Answer{Class: Unknown, Provider: "b"}, 1},
	}
	for _, row := range rows {
		first, second := &answering{answer: row.first}, &answering{answer: row.second}
		routes := mailRoutes{{first, NewGate("a", time.Hour)}, {second, NewGate("b", time.Hour)}}
		if got := routes.Mail(t.Context(), Email{}); got != row.want || first.calls != 1 || second.calls != row.asked {
			t.Errorf("%s: %+v after %d and %d calls", row.name, got, first.calls, second.calls)
		}
	}
	// With the first shut, everything goes by the second at once.
	first, second := &answering{answer: Answer{Class: ConfigFault}}, &answering{answer: Answer{Class: Accepted}}
	routes := mailRoutes{{first, NewGate("a", time.Hour)}, {second, NewGate("b", time.Hour)}}
	for range 10 {
		if got := routes.Mail(t.Context(), Email{}); got.Class != Accepted {
			t.Fatalf("%+v", got)
		}
	}
	if first.calls != 1 || second.calls != 10 {
		t.Errorf("%d and %d calls", first.calls, second.calls)
	}
}
