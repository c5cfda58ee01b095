package ledger

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/ma-messagerie/messagerie/services/notifier/internal/notifiertest"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/provider"
)

// dead plans a delivery and brings it to an end that a row of the tests names.
func dead(t *testing.T, l *Ledger, channel Channel, a provider.Answer) uuid.UUID {
	t.Helper()
	plans := planOf(channel)
	notifiertest.Plan(t, l, plans)
	notifiertest.Record(t, l, Settle(notifiertest.Claim(t, l, channel, 1)[0], "p", a, Doubts{Wait: 0, Blind: true}))
	return plans[0].EventID
}

// TestReplay: by ids, by filter, twice at once; what a provider accepted is never
// sent again.
func TestReplay(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	taken := sent(t, l, Email)
	refusedMail := dead(t, l, Email, provider.Answer{Class: provider.Refused, Reason: "HTTP_400"})
	refusedText := dead(t, l, SMS, provider.Answer{Class: provider.Refused, Reason: "TWILIO_21211"})
	doubtful := planOf(SMS)
	notifiertest.Plan(t, l, doubtful)
	notifiertest.Record(t, l, Settle(notifiertest.Claim(t, l, SMS, 1)[0], "p", provider.Answer{Class: provider.Unknown}, Doubts{Wait: time.Minute, Blind: true}))
	notifiertest.Exec(t, l.pool, `UPDATE delivery SET expires_at = now() - interval '1 minute', next_attempt_at = now() - interval '1 minute' WHERE event_id = $1`, doubtful[0].EventID)
	notifiertest.Sweep(t, l)

	replay := func(f Filter, want int32) {
		t.Helper()
		counted, err := l.CountDeadLetters(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Fold(t.Context()); err != nil {
			t.Fatal(err)
		}
		if again, err := l.CountDeadLetters(t.Context(), f); again != counted || err != nil {
			t.Fatalf("folded, %d are counted, %d before: %v", again, counted, err)
		}
		n, err := l.Replay(t.Context(), "agent:olga", f)
		if err != nil || n != want || counted != want {
			t.Fatalf("replayed %d, counted %d, want %d: %v", n, counted, want, err)
		}
	}
	replay(Filter{IDs: []uuid.UUID{taken}, Channels: []string{"EMAIL"}}, 0)
	replay(Filter{IDs: []uuid.UUID{refusedMail}, Channels: []string{"SMS"}}, 0)
	replay(Filter{Channel: "SMS", Reason: "TWILIO_21211"}, 1)
	replay(Filter{Provider: "nobody"}, 0)
	before := time.Now().Add(-time.Hour)
	replay(Filter{Before: &before}, 0)
	replay(Filter{From: &before}, 2)
	replay(Filter{}, 0) // all of them are on their way
	for _, event := range []uuid.UUID{refusedText, doubtful[0].EventID} {
		if got := look(t, l.pool, event, SMS); got.State != Planned || got.Attempts != 0 {
			t.Errorf("%+v", got)
		}
	}
	if got := look(t, l.pool, taken, Email); got.State != Accepted {
		t.Errorf("what was accepted is %s", got.State)
	}
	claimed := notifiertest.Claim(t, l, SMS, 2)
	if len(claimed) != 2 {
		t.Fatalf("%d SMS are tried again, want 2", len(claimed))
	}
	for _, d := range claimed {
		if d.EventID == doubtful[0].EventID && d.Unknowns != 1 {
			t.Error("the doubt was forgotten: it would be sent unasked")
		}
	}
	var notes int
	if err := l.pool.QueryRow(t.Context(), `SELECT count(*) FROM intervention WHERE operator = 'agent:olga' AND action = 'replay'`).Scan(&notes); err != nil || notes != 3 {
		t.Errorf("%d interventions are noted, want 3: %v", notes, err)
	}
}

func TestDrop(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	event := dead(t, l, Email, provider.Answer{Class: provider.Refused})
	taken := sent(t, l, Email)
	for _, row := range []struct {
		id      uuid.UUID
		channel string
		want    bool
	}{{taken, "EMAIL", false}, {event, "SMS", false}, {event, Event, false}, {event, "EMAIL", true}, {event, "EMAIL", false}} {
		if got, err := l.Drop(t.Context(), "agent:olga", row.id, row.channel, "wrong address"); err != nil || got != row.want {
			t.Errorf("%s %s: dropped %t, want %t: %v", row.id, row.channel, got, row.want, err)
		}
	}
	if n, err := l.Replay(t.Context(), "agent:olga", Filter{}); err != nil || n != 0 {
		t.Errorf("%d replayed after the drop: %v", n, err)
	}
}

// Dead letters of a time are counted by days and parts of days, and are those that a list of
// that time has.
func TestCountDeadLetters_OfATime(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	midnight := time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, -6)
	var times []time.Time
	for day := range 5 {
		for _, in := range []time.Duration{0, time.Microsecond, 11 * time.Hour, 24*time.Hour - time.Microsecond} {
			times = append(times, midnight.AddDate(0, 0, day).Add(in))
		}
	}
	for i, at := range times {
		channel, reason := Channels[i%2], []string{"HTTP_400", "HTTP_422", "HTTP_404"}[i%3]
		event := dead(t, l, channel, provider.Answer{Class: provider.Refused, Reason: reason})
		notifiertest.Exec(t, l.pool, `UPDATE delivery SET updated_at = $2 WHERE event_id = $1`, event, at)
		notifiertest.Exec(t, l.pool, `INSERT INTO set_aside (message_id, type, payload, reason, set_aside_at) VALUES ($1, 'x', '', 'UNREADABLE', $2)`, event.String(), at)
	}
	bounds := []*time.Time{nil}
	for _, at := range times {
		bounds = append(bounds, new(at.Add(-time.Microsecond)), &at)
	}
	agree := func(when string) {
		t.Helper()
		for _, f := range []Filter{{}, {Channel: "SMS"}, {Channel: Event}, {Deliveries: true, Reason: "HTTP_422"}, {Reason: "UNREADABLE"}} {
			for _, from := range bounds {
				for _, before := range bounds {
					f.From, f.Before = from, before
					listed, err1 := l.DeadLetters(t.Context(), f, nil, 100)
					counted, err2 := l.CountDeadLetters(t.Context(), f)
					if err1 != nil || err2 != nil || len(listed) != int(counted) {
						t.Fatalf("%s: %+v from %v before %v: %d are counted and %d listed, %v, %v", when, f, from, before, counted, len(listed), err1, err2)
					}
				}
			}
		}
	}
	agree("before they were added up")
	if err := l.Fold(t.Context()); err != nil {
		t.Fatal(err)
	}
	agree("added up")
	notifiertest.Exec(t, l.pool, `UPDATE delivery SET dropped_at = now() WHERE updated_at < $1`, midnight.AddDate(0, 0, 1))
	notifiertest.Exec(t, l.pool, `UPDATE set_aside SET ended_at = now() WHERE set_aside_at < $1`, midnight.AddDate(0, 0, 1))
	agree("some dropped")
	if err := l.Fold(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, err := l.ForgetDays(t.Context(), EmptyDays); n == 0 || err != nil {
		t.Errorf("%d counts of the first day were forgotten, %v", n, err)
	}
	if n, err := l.ForgetDays(t.Context(), EmptyDays); n != 0 || err != nil {
		t.Errorf("%d more counts were forgotten, %v", n, err)
	}
	agree("the first day forgotten")
}

func TestWhatIsADeadLetter(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	letters := map[string]string{
		dead(t, l, Email, provider.Answer{Class: provider.Refused, Reason: "HTTP_400"}).String() + ".EMAIL":                   "refused",
		dead(t, l, SMS, provider.Answer{Class: provider.Suppressed, Reason: ReasonPhoneInvalid}).String() + ".SMS":            "suppressed",
		dead(t, l, Email, provider.Answer{Class: provider.Suppressed, Reason: ReasonConversationUnknown}).String() + ".EMAIL": "suppressed",
		dead(t, l, Email, provider.Answer{Class: provider.Suppressed, Reason: ReasonRenderFailed}).String() + ".EMAIL":        "suppressed",
		dead(t, l, Email, provider.Answer{Class: provider.Accepted, MessageID: "bounces"}).String() + ".EMAIL-bounce":         "bounced",
	}
	for name := range letters {
		if id, found := strings.CutSuffix(name, ".EMAIL-bounce"); found {
			if _, err := l.Report(t.Context(), []Report{{Provider: "p", ReportID: id, EventID: uuid.MustParse(id), Channel: Email, State: Bounced}}); err != nil {
				t.Fatal(err)
			}
			delete(letters, name)
			letters[id+".EMAIL"] = "bounced"
		}
	}
	// These are none.
	dead(t, l, Email, provider.Answer{Class: provider.Suppressed, Reason: ReasonNoEmail})
	dead(t, l, SMS, provider.Answer{Class: provider.Suppressed, Reason: ReasonNoPhone})
	dead(t, l, Email, provider.Answer{Class: provider.Accepted})
	dead(t, l, Email, provider.Answer{Class: provider.NotSent})
	late := planOf(SMS)
	notifiertest.Plan(t, l, late)
	notifiertest.Exec(t, l.pool, `UPDATE delivery SET expires_at = now() - interval '1 minute' WHERE event_id = $1`, late[0].EventID)
	notifiertest.Sweep(t, l)
	letters[late[0].EventID.String()+".SMS"] = "expired"
	got, err := l.DeadLetters(t.Context(), Filter{}, nil, 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, letter := range got {
		id := letter.ID.String() + "." + letter.Channel
		if letters[id] != string(letter.State) {
			t.Errorf("%s is %s (%s), want %q", id, letter.State, letter.Reason, letters[id])
		}
		delete(letters, id)
	}
	for id, state := range letters {
		t.Errorf("%s, %s, is missing", id, state)
	}
}

// A dead letter that stops being one while a replay waits for its row stays as it is.
func TestReplay_NoLongerDead(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	event := dead(t, l, Email, provider.Answer{Class: provider.Refused, Reason: "HTTP_400"})
	report := begin(t, l, `UPDATE delivery SET state = 'delivered' WHERE event_id = $1`, event)
	type result struct {
		n   int32
		err error
	}
	replayed := make(chan result, 1)
	go func() {
		n, err := l.Replay(context.WithoutCancel(t.Context()), "olga", Filter{})
		replayed <- result{n, err}
	}()
	waits(t, l, 1)
	if err := report.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := <-replayed; got != (result{}) {
		t.Errorf("replayed %d: %v", got.n, got.err)
	}
	if got := look(t, l.pool, event, Email); got.State != Delivered {
		t.Errorf("is %s", got.State)
	}
}
