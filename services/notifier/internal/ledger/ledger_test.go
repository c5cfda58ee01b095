package ledger

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"pgregory.net/rapid"

	"github.com/ma-messagerie/messagerie/services/notifier/internal/notifiertest"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/provider"
)

func newLedger(t testing.TB) *Ledger {
	t.Helper()
	return ledgerIn(notifiertest.Pool(t))
}

func ledgerIn(pool *pgxpool.Pool) *Ledger {
	return New(pool, Doubts{Wait: 3 * time.Minute, Blind: true})
}

func planOf(channels ...Channel) []Plan {
	event, conversation := uuid.New(), uuid.New()
	plans := make([]Plan, len(channels))
	for i, channel := range channels {
		plans[i] = Plan{EventID: event, Channel: channel, EventType: MessageSubmitted, ConversationID: conversation, Caisse: "armorique"}
	}
	return plans
}

func TestPlanningAgainChangesNothing(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	plans := planOf(Email, SMS)
	if n := notifiertest.Plan(t, l, append(plans, plans...)); n != 2 {
		t.Errorf("the same event twice in a batch made %d rows, want 2", n)
	}
	notifiertest.Record(t, l, Settle(notifiertest.Claim(t, l, Email, 1)[0], "p", provider.Answer{Class: provider.Accepted}, Doubts{Wait: 0, Blind: true}))
	if n := notifiertest.Plan(t, l, plans); n != 0 {
		t.Errorf("the same event again made %d rows, want 0", n)
	}
	if got := look(t, l.pool, plans[0].EventID, Email); got.State != Accepted {
		t.Errorf("a repeated event took a delivery back to %s", got.State)
	}
}

func TestLifetimes(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	plans := planOf(Email, SMS)
	for i := range plans {
		plans[i].LoggedAt = time.Now().Add(-3 * time.Hour)
	}
	notifiertest.Plan(t, l, plans)
	future := planOf(SMS)
	future[0].LoggedAt = time.Now().Add(time.Hour) // a clock that is fast
	notifiertest.Plan(t, l, future)
	for _, want := range []struct {
		event   uuid.UUID
		channel Channel
		hours   float64
	}{{plans[0].EventID, Email, 72}, {plans[0].EventID, SMS, 1}, {future[0].EventID, SMS, 4}} {
		var hours float64
		err := l.pool.QueryRow(t.Context(), `SELECT EXTRACT(epoch FROM expires_at - created_at)::float8 / 3600 FROM delivery
			WHERE event_id = $1 AND channel = $2`, want.event, want.channel).Scan(&hours)
		if err != nil || hours < want.hours-.01 || hours > want.hours+.01 {
			t.Errorf("%s: expires after %.2f hours, want %.0f (%v)", want.channel, hours, want.hours, err)
		}
	}
}

// Four claimers, two thousand rows: each row goes to one of them.
func TestEachRowIsClaimedOnce(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	var plans []Plan
	for range 2000 {
		plans = append(plans, planOf(Email)...)
	}
	notifiertest.Plan(t, l, plans)
	var mu sync.Mutex
	claims := make(map[uuid.UUID]int)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for {
				batch, err := l.Claim(t.Context(), Email, 37, time.Minute)
				if err != nil || len(batch) == 0 {
					if err != nil {
						t.Error(err)
					}
					return
				}
				mu.Lock()
				for _, d := range batch {
					claims[d.EventID]++
				}
				mu.Unlock()
			}
		})
	}
	group.Wait()
	for event, n := range claims {
		if n != 1 {
			t.Errorf("%s was claimed %d times", event, n)
		}
	}
	if len(claims) != 2000 {
		t.Errorf("%d rows were claimed, want 2000", len(claims))
	}
}

func TestClaimTakesTheLongestDueOfItsChannel(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	first, second, text, later := planOf(Email), planOf(Email), planOf(SMS), planOf(Email)
	for _, p := range [][]Plan{second, first, text, later} {
		notifiertest.Plan(t, l, p)
	}
	notifiertest.Exec(t, l.pool, `UPDATE delivery SET next_attempt_at = now() - interval '1 hour' WHERE event_id = $1`, first[0].EventID)
	notifiertest.Exec(t, l.pool, `UPDATE delivery SET next_attempt_at = now() + interval '1 hour' WHERE event_id = $1`, later[0].EventID)
	if got := notifiertest.Claim(t, l, Email, 1); len(got) != 1 || got[0].EventID != first[0].EventID {
		t.Fatalf("claimed %v first", got)
	}
	if got := notifiertest.Claim(t, l, Email, 10); len(got) != 1 || got[0].EventID != second[0].EventID {
		t.Fatalf("claimed %v then", got)
	}
}

// A sender dies between claim and record: the row waits for news, and goes once.
func TestLapsedLeaseIsUnknownFirst(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	event := planOf(Email, SMS)[0].EventID
	plans := planOf(Email, SMS)
	plans[0].EventID, plans[1].EventID = event, event
	notifiertest.Plan(t, l, plans)
	for _, channel := range Channels {
		notifiertest.Claim(t, l, channel, 1)
	}
	notifiertest.Sweep(t, l)
	if got := look(t, l.pool, event, Email); got.State != Sending {
		t.Fatalf("a lease that holds was swept to %s", got.State)
	}
	notifiertest.Lapse(t, l.pool)
	if got := notifiertest.Claim(t, l, Email, 1); len(got) != 0 {
		t.Fatal("a lapsed lease was claimed without a wait")
	}
	notifiertest.Sweep(t, l)
	for _, channel := range Channels {
		want := row{State: Unknown, Attempts: 1, Unknowns: 1, Reason: reasonLapsed, Wait: 180}
		if diff := cmp.Diff(want, look(t, l.pool, event, channel)); diff != "" {
			t.Errorf("%s: %s", channel, diff)
		}
	}
	// The second doubt: an e-mail goes on, an SMS waits for its end.
	notifiertest.Due(t, l.pool)
	for _, channel := range Channels {
		if got := notifiertest.Claim(t, l, channel, 1); len(got) != 1 || got[0].Attempts != 2 || got[0].Unknowns != 1 {
			t.Fatalf("claimed %v", got)
		}
	}
	notifiertest.Lapse(t, l.pool)
	notifiertest.Sweep(t, l)
	if got := look(t, l.pool, event, Email); got.Wait != 180 {
		t.Errorf("e-mail: %+v", got)
	}
	if got := look(t, l.pool, event, SMS); got.Wait < 4*3600-60 {
		t.Errorf("SMS: %+v", got)
	}
}

func TestRecordIsFenced(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	plans := planOf(Email)
	event := plans[0].EventID
	notifiertest.Plan(t, l, plans)
	slow := notifiertest.Claim(t, l, Email, 1)[0]
	notifiertest.Lapse(t, l.pool)
	notifiertest.Sweep(t, l)
	notifiertest.Due(t, l.pool)
	quick := notifiertest.Claim(t, l, Email, 1)[0]
	late := notifiertest.Record(t, l, Settle(slow, "p", provider.Answer{Class: provider.Refused}, Doubts{Wait: 0, Blind: true}))
	if len(late) != 1 || look(t, l.pool, event, Email).State != Sending {
		t.Fatalf("an outcome of another attempt was applied: %v", look(t, l.pool, event, Email))
	}
	if late := notifiertest.Record(t, l, Settle(quick, "p", provider.Answer{Class: provider.Accepted, Status: 202, MessageID: "m"}, Doubts{Wait: 0, Blind: true})); len(late) != 0 {
		t.Fatal("the outcome of the current attempt was not applied")
	}
	// An end is an end, also for the attempt that led to it.
	notifiertest.Record(t, l, Settle(quick, "p", provider.Answer{Class: provider.NotSent}, Doubts{Wait: 0, Blind: true}))
	if got := look(t, l.pool, event, Email); got.State != Accepted || got.Attempts != 2 {
		t.Errorf("%+v", got)
	}
	var applied, all int
	if err := l.pool.QueryRow(t.Context(), `SELECT count(*) FILTER (WHERE applied), count(*) FROM attempt`).Scan(&applied, &all); err != nil {
		t.Fatal(err)
	}
	if applied != 3 || all != 4 { // lapsed, accepted, and again by the same attempt; refused late
		t.Errorf("%d attempts logged, %d of them applied", all, applied)
	}
}

// A sender that comes back before anybody else has claimed says what was unknown.
func TestLateAnswerSettlesDoubt(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	plans := planOf(Email)
	notifiertest.Plan(t, l, plans)
	slow := notifiertest.Claim(t, l, Email, 1)[0]
	notifiertest.Lapse(t, l.pool)
	notifiertest.Sweep(t, l)
	if late := notifiertest.Record(t, l, Settle(slow, "p", provider.Answer{Class: provider.Accepted}, Doubts{Wait: 0, Blind: true})); len(late) != 0 {
		t.Fatal("the answer was thrown away")
	}
	if got := look(t, l.pool, plans[0].EventID, Email); got.State != Accepted {
		t.Errorf("%+v", got)
	}
}

func TestGivenBackCostsNoAttempt(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	plans := planOf(Email)
	notifiertest.Plan(t, l, plans)
	notifiertest.Record(t, l, GiveBack(notifiertest.Claim(t, l, Email, 1)[0], 0, ReasonRecipientsUnavailable))
	if got := look(t, l.pool, plans[0].EventID, Email); got.State != Planned || got.Attempts != 0 {
		t.Errorf("first: %+v", got)
	}
	notifiertest.Record(t, l, Settle(notifiertest.Claim(t, l, Email, 1)[0], "p", provider.Answer{Class: provider.NotSent}, Doubts{Wait: 0, Blind: true}))
	notifiertest.Due(t, l.pool)
	notifiertest.Record(t, l, GiveBack(notifiertest.Claim(t, l, Email, 1)[0], 2*time.Second, ReasonRecipientsUnavailable))
	if diff := cmp.Diff(row{State: Retry, Attempts: 1, Reason: ReasonRecipientsUnavailable, Wait: 2}, look(t, l.pool, plans[0].EventID, Email)); diff != "" {
		t.Errorf("second: %s", diff)
	}
	var logged int
	if err := l.pool.QueryRow(t.Context(), `SELECT count(*) FROM attempt`).Scan(&logged); err != nil || logged != 1 {
		t.Errorf("%d attempts were logged, want 1 (%v)", logged, err)
	}
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	never, doubt := planOf(SMS), planOf(SMS)
	notifiertest.Plan(t, l, doubt)
	notifiertest.Record(t, l, Settle(notifiertest.Claim(t, l, SMS, 1)[0], "p", provider.Answer{Class: provider.Unknown}, Doubts{Wait: time.Minute, Blind: true}))
	notifiertest.Plan(t, l, never)
	notifiertest.Exec(t, l.pool, `UPDATE delivery SET expires_at = now(), next_attempt_at = now()`)
	if got := notifiertest.Claim(t, l, SMS, 10); len(got) != 0 {
		t.Fatal("claimed past its time")
	}
	notifiertest.Sweep(t, l)
	if got := look(t, l.pool, never[0].EventID, SMS); got.State != Expired || got.Reason != reasonLate {
		t.Errorf("never sent: %+v", got)
	}
	if got := look(t, l.pool, doubt[0].EventID, SMS); got.State != Expired || got.Reason != reasonUnknown {
		t.Errorf("perhaps sent: %+v", got)
	}
}

func TestNextAttemptIsNeverPastTheEnd(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	plans := planOf(SMS)
	notifiertest.Plan(t, l, plans)
	notifiertest.Record(t, l, Outcome{Delivery: notifiertest.Claim(t, l, SMS, 1)[0], State: Unknown, wait: untilExpiry, Class: provider.Unknown})
	if got := look(t, l.pool, plans[0].EventID, SMS); got.Wait > int(smsLifetime/time.Second) {
		t.Errorf("%+v", got)
	}
}

func TestWaiting(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	notifiertest.Plan(t, l, planOf(Email, SMS))
	notifiertest.Plan(t, l, planOf(Email))
	notifiertest.Exec(t, l.pool, `UPDATE delivery SET next_attempt_at = now() - interval '90 s' WHERE channel = 'SMS'`)
	notifiertest.Record(t, l, Settle(notifiertest.Claim(t, l, Email, 1)[0], "p", provider.Answer{Class: provider.Accepted}, Doubts{Wait: 0, Blind: true}))
	list, err := l.Waiting(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]int64)
	for _, w := range list {
		got[fmt.Sprint(w.Channel, w.State)] = w.Rows
		if w.Channel == SMS && (w.Overdue < 90 || w.Overdue > 120) {
			t.Errorf("SMS overdue for %.0f s, want 90", w.Overdue)
		}
	}
	if diff := cmp.Diff(map[string]int64{"EMAILplanned": 1, "SMSplanned": 1}, got); diff != "" {
		t.Error(diff)
	}
}

// Any order of what can happen to a delivery, with two senders of which either
// may be slow. What must hold: an end never changes; an attempt that the ledger
// calls current is the last one claimed; no row is claimed while it is leased;
// attempts count the claims that were not given back.
func TestAnyOrderOfEvents(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	rapid.Check(t, func(rt *rapid.T) {
		plans := planOf(rapid.SampledFrom(Channels).Draw(rt, "channel"))
		event, channel := plans[0].EventID, plans[0].Channel
		// The property looks at one row, so it must be the only one there is.
		notifiertest.Exec(t, l.pool, `TRUNCATE delivery, attempt`)
		notifiertest.Plan(t, l, plans)
		var held []Delivery // claimed and not recorded, oldest first
		ends := map[State]bool{Accepted: true, Refused: true, Expired: true, Suppressed: true}
		check := func(before, after row) {
			if ends[before.State] && before != after {
				rt.Fatalf("an end changed from %+v to %+v", before, after)
			}
			if after.Attempts < 0 || after.Attempts > before.Attempts+1 || after.Unknowns < before.Unknowns {
				rt.Fatalf("counters went from %+v to %+v", before, after)
			}
		}
		steps := map[string]func(*rapid.T){
			"claim": func(rt *rapid.T) {
				before := look(t, l.pool, event, channel)
				got := notifiertest.Claim(t, l, channel, 5)
				if len(got) > 0 && (before.State == Sending || ends[before.State]) {
					rt.Fatalf("claimed from %s", before.State)
				}
				held = append(held, got...)
				check(before, look(t, l.pool, event, channel))
			},
			"record": func(rt *rapid.T) {
				if len(held) == 0 {
					rt.Skip()
				}
				i := rapid.IntRange(0, len(held)-1).Draw(rt, "which")
				d := held[i]
				last := i == len(held)-1
				held = append(held[:i:i], held[i+1:]...)
				c := rapid.SampledFrom([]provider.Class{provider.Accepted, provider.Refused, provider.NotSent, provider.ConfigFault, provider.Unknown, provider.Suppressed, provider.Found, provider.LookupFailed, provider.Held, ""}).Draw(rt, "class")
				o := GiveBack(d, 0, ReasonStopping)
				if c != "" {
					o = Settle(d, "p", provider.Answer{Class: c}, Doubts{Wait: time.Minute, Blind: true})
				}
				before := look(t, l.pool, event, channel)
				late := notifiertest.Record(t, l, o)
				after := look(t, l.pool, event, channel)
				check(before, after)
				if len(late) == 1 && before != after {
					rt.Fatalf("a late outcome changed %+v to %+v", before, after)
				}
				if !last && len(late) == 0 {
					rt.Fatalf("an attempt that was overtaken was applied: %+v", after)
				}
			},
			"lapse": func(*rapid.T) { notifiertest.Lapse(t, l.pool) },
			"sweep": func(*rapid.T) {
				before := look(t, l.pool, event, channel)
				notifiertest.Sweep(t, l)
				check(before, look(t, l.pool, event, channel))
			},
			"time passes": func(*rapid.T) { notifiertest.Due(t, l.pool) },
			"time is up": func(*rapid.T) {
				notifiertest.Exec(t, l.pool, `UPDATE delivery SET expires_at = now(),
					next_attempt_at = CASE WHEN next_attempt_at IS NOT NULL THEN now() END`)
			},
			"planned again": func(rt *rapid.T) {
				before := look(t, l.pool, event, channel)
				if notifiertest.Plan(t, l, plans) != 0 || look(t, l.pool, event, channel) != before {
					rt.Fatal("planning again changed something")
				}
			},
		}
		rt.Repeat(steps)
	})
}

// Outcomes are recorded while reports about the same deliveries are filed, each in its
// own order, and nobody waits for who waits for them.
func TestRecordAndReport_OneOrder(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	for range 20 {
		const n = 100
		var plans []Plan
		for range n {
			plans = append(plans, planOf(Email)...)
		}
		notifiertest.Plan(t, l, plans)
		claimed, err := l.Claim(t.Context(), Email, n, time.Minute)
		if err != nil || len(claimed) != n {
			t.Fatalf("%d claimed: %v", len(claimed), err)
		}
		var outcomes []Outcome
		var reports []Report
		for i, d := range claimed {
			outcomes = append(outcomes, Outcome{Delivery: d, State: Accepted, Class: provider.Accepted, provider: provider.NameSendGrid})
			other := claimed[n-1-i]
			reports = append(reports, Report{Provider: provider.NameSendGrid, ReportID: uuid.NewString(), EventID: other.EventID, Channel: other.Channel, State: Delivered})
		}
		var both sync.WaitGroup
		both.Go(func() {
			if _, err := l.record(t.Context(), outcomes); err != nil {
				t.Error(err)
			}
		})
		both.Go(func() {
			if _, err := l.Report(t.Context(), reports); err != nil {
				t.Error(err)
			}
		})
		both.Wait()
	}
	l.pool.Reset() // sessions report what they counted when they end
	notifiertest.Eventually(t, "sessions have ended", func() bool {
		var others int
		err := l.pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`).Scan(&others)
		return err == nil && others == 0
	})
	var deadlocks int
	if err := l.pool.QueryRow(t.Context(), `SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()`).Scan(&deadlocks); err != nil {
		t.Fatal(err)
	}
	if deadlocks > 0 {
		t.Errorf("%d deadlocks", deadlocks)
	}
	var unmoved int
	if err := l.pool.QueryRow(t.Context(), `SELECT count(*) FROM delivery WHERE state <> 'delivered'`).Scan(&unmoved); err != nil || unmoved > 0 {
		t.Errorf("%d deliveries are not delivered: %v", unmoved, err)
	}
}

// sent plans deliveries and has them accepted.
func sent(t *testing.T, l *Ledger, channels ...Channel) uuid.UUID {
	t.Helper()
	plans := planOf(channels...)
	notifiertest.Plan(t, l, plans)
	for _, channel := range channels {
		notifiertest.Record(t, l, Settle(notifiertest.Claim(t, l, channel, 1)[0], "p", provider.Answer{Class: provider.Accepted, MessageID: "m-0"}, Doubts{Wait: 0, Blind: true}))
	}
	return plans[0].EventID
}
