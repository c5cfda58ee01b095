package notifier

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"pgregory.net/rapid"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/provider"
)

func newLedger(t testing.TB) *ledger {
	t.Helper()
	return ledgerOf(t, testenv.Postgres(t, Migrations))
}

func ledgerOf(t testing.TB, url string, options ...postgres.Option) *ledger {
	t.Helper()
	pool, err := postgres.Open(t.Context(), url, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return &ledger{pool: pool, doubts: doubts{wait: 3 * time.Minute, blind: true}}
}

func exec(t testing.TB, l *ledger, sql string, args ...any) {
	t.Helper()
	if _, err := l.pool.Exec(context.WithoutCancel(t.Context()), sql, args...); err != nil {
		t.Fatal(err)
	}
}

// row is what a test looks at.
type row struct {
	State    state
	Attempts int
	Unknowns int
	Reason   string
	// Wait is next_attempt_at minus now, in whole seconds rounded up; -1 for none.
	Wait int
}

func look(t testing.TB, l *ledger, event uuid.UUID, way channel) row {
	t.Helper()
	rows, err := l.pool.Query(context.WithoutCancel(t.Context()), `
		SELECT state, attempts, unknowns, reason, COALESCE(ceil(EXTRACT(epoch FROM next_attempt_at - updated_at)), -1)::int AS wait
		FROM delivery WHERE event_id = $1 AND channel = $2`, event, way)
	if err != nil {
		t.Fatal(err)
	}
	found, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[row])
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func planOf(ways ...channel) []plan {
	event, conversation := uuid.New(), uuid.New()
	plans := make([]plan, len(ways))
	for i, way := range ways {
		plans[i] = plan{event: event, channel: way, kind: messageSubmitted, conversation: conversation, caisse: "armorique"}
	}
	return plans
}

func mustPlan(t testing.TB, l *ledger, plans []plan) int64 {
	t.Helper()
	n, err := l.Plan(t.Context(), plans)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func mustClaim(t testing.TB, l *ledger, way channel, n int) []delivery {
	t.Helper()
	claimed, err := l.Claim(t.Context(), way, n, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return claimed
}

func mustRecord(t testing.TB, l *ledger, outcomes ...outcome) (late []outcome) {
	t.Helper()
	late, err := l.Record(t.Context(), outcomes)
	if err != nil {
		t.Fatal(err)
	}
	return late
}

func mustSweep(t testing.TB, l *ledger) {
	t.Helper()
	if _, err := l.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// lapse ends the leases of all that is being sent.
func lapse(t testing.TB, l *ledger) {
	t.Helper()
	exec(t, l, `UPDATE delivery SET lease_until = now() WHERE state = 'sending'`)
}

// due ends all waits.
func due(t testing.TB, l *ledger) {
	t.Helper()
	exec(t, l, `UPDATE delivery SET next_attempt_at = now() WHERE next_attempt_at IS NOT NULL`)
}

func TestPlanningAgainChangesNothing(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	plans := planOf(byEmail, bySMS)
	if n := mustPlan(t, l, append(plans, plans...)); n != 2 {
		t.Errorf("the same event twice in a batch made %d rows, want 2", n)
	}
	mustRecord(t, l, settle(mustClaim(t, l, byEmail, 1)[0], "p", provider.Answer{Class: provider.Accepted}, doubts{wait: 0, blind: true}))
	if n := mustPlan(t, l, plans); n != 0 {
		t.Errorf("the same event again made %d rows, want 0", n)
	}
	if got := look(t, l, plans[0].event, byEmail); got.State != accepted {
		t.Errorf("a repeated event took a delivery back to %s", got.State)
	}
}

func TestLifetimes(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	plans := planOf(byEmail, bySMS)
	for i := range plans {
		plans[i].logged = time.Now().Add(-3 * time.Hour)
	}
	mustPlan(t, l, plans)
	future := planOf(bySMS)
	future[0].logged = time.Now().Add(time.Hour) // a clock that is fast
	mustPlan(t, l, future)
	for _, want := range []struct {
		event   uuid.UUID
		channel channel
		hours   float64
	}{{plans[0].event, byEmail, 72}, {plans[0].event, bySMS, 1}, {future[0].event, bySMS, 4}} {
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
	var plans []plan
	for range 2000 {
		plans = append(plans, planOf(byEmail)...)
	}
	mustPlan(t, l, plans)
	var mu sync.Mutex
	claims := make(map[uuid.UUID]int)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for {
				batch, err := l.Claim(t.Context(), byEmail, 37, time.Minute)
				if err != nil || len(batch) == 0 {
					if err != nil {
						t.Error(err)
					}
					return
				}
				mu.Lock()
				for _, d := range batch {
					claims[d.Event]++
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
	first, second, text, later := planOf(byEmail), planOf(byEmail), planOf(bySMS), planOf(byEmail)
	for _, p := range [][]plan{second, first, text, later} {
		mustPlan(t, l, p)
	}
	exec(t, l, `UPDATE delivery SET next_attempt_at = now() - interval '1 hour' WHERE event_id = $1`, first[0].event)
	exec(t, l, `UPDATE delivery SET next_attempt_at = now() + interval '1 hour' WHERE event_id = $1`, later[0].event)
	if got := mustClaim(t, l, byEmail, 1); len(got) != 1 || got[0].Event != first[0].event {
		t.Fatalf("claimed %v first", got)
	}
	if got := mustClaim(t, l, byEmail, 10); len(got) != 1 || got[0].Event != second[0].event {
		t.Fatalf("claimed %v then", got)
	}
}

// A sender dies between claim and record: the row waits for news, and goes once.
func TestLapsedLeaseIsUnknownFirst(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	event := planOf(byEmail, bySMS)[0].event
	plans := planOf(byEmail, bySMS)
	plans[0].event, plans[1].event = event, event
	mustPlan(t, l, plans)
	for _, way := range channels {
		mustClaim(t, l, way, 1)
	}
	mustSweep(t, l)
	if got := look(t, l, event, byEmail); got.State != sending {
		t.Fatalf("a lease that holds was swept to %s", got.State)
	}
	lapse(t, l)
	if got := mustClaim(t, l, byEmail, 1); len(got) != 0 {
		t.Fatal("a lapsed lease was claimed without a wait")
	}
	mustSweep(t, l)
	for _, way := range channels {
		want := row{State: unknown, Attempts: 1, Unknowns: 1, Reason: reasonLapsed, Wait: 180}
		if diff := cmp.Diff(want, look(t, l, event, way)); diff != "" {
			t.Errorf("%s: %s", way, diff)
		}
	}
	// The second doubt: an e-mail goes on, an SMS waits for its end.
	due(t, l)
	for _, way := range channels {
		if got := mustClaim(t, l, way, 1); len(got) != 1 || got[0].Attempts != 2 || got[0].Unknowns != 1 {
			t.Fatalf("claimed %v", got)
		}
	}
	lapse(t, l)
	mustSweep(t, l)
	if got := look(t, l, event, byEmail); got.Wait != 180 {
		t.Errorf("e-mail: %+v", got)
	}
	if got := look(t, l, event, bySMS); got.Wait < 4*3600-60 {
		t.Errorf("SMS: %+v", got)
	}
}

func TestRecordIsFenced(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	plans := planOf(byEmail)
	event := plans[0].event
	mustPlan(t, l, plans)
	slow := mustClaim(t, l, byEmail, 1)[0]
	lapse(t, l)
	mustSweep(t, l)
	due(t, l)
	quick := mustClaim(t, l, byEmail, 1)[0]
	late := mustRecord(t, l, settle(slow, "p", provider.Answer{Class: provider.Refused}, doubts{wait: 0, blind: true}))
	if len(late) != 1 || look(t, l, event, byEmail).State != sending {
		t.Fatalf("an outcome of another attempt was applied: %v", look(t, l, event, byEmail))
	}
	if late := mustRecord(t, l, settle(quick, "p", provider.Answer{Class: provider.Accepted, Status: 202, MessageID: "m"}, doubts{wait: 0, blind: true})); len(late) != 0 {
		t.Fatal("the outcome of the current attempt was not applied")
	}
	// An end is an end, also for the attempt that led to it.
	mustRecord(t, l, settle(quick, "p", provider.Answer{Class: provider.NotSent}, doubts{wait: 0, blind: true}))
	if got := look(t, l, event, byEmail); got.State != accepted || got.Attempts != 2 {
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
	plans := planOf(byEmail)
	mustPlan(t, l, plans)
	slow := mustClaim(t, l, byEmail, 1)[0]
	lapse(t, l)
	mustSweep(t, l)
	if late := mustRecord(t, l, settle(slow, "p", provider.Answer{Class: provider.Accepted}, doubts{wait: 0, blind: true})); len(late) != 0 {
		t.Fatal("the answer was thrown away")
	}
	if got := look(t, l, plans[0].event, byEmail); got.State != accepted {
		t.Errorf("%+v", got)
	}
}

func TestGivenBackCostsNoAttempt(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	plans := planOf(byEmail)
	mustPlan(t, l, plans)
	mustRecord(t, l, giveBack(mustClaim(t, l, byEmail, 1)[0], 0, reasonNoRecipients))
	if got := look(t, l, plans[0].event, byEmail); got.State != planned || got.Attempts != 0 {
		t.Errorf("first: %+v", got)
	}
	mustRecord(t, l, settle(mustClaim(t, l, byEmail, 1)[0], "p", provider.Answer{Class: provider.NotSent}, doubts{wait: 0, blind: true}))
	due(t, l)
	mustRecord(t, l, giveBack(mustClaim(t, l, byEmail, 1)[0], 2*time.Second, reasonNoRecipients))
	if diff := cmp.Diff(row{State: retry, Attempts: 1, Reason: reasonNoRecipients, Wait: 2}, look(t, l, plans[0].event, byEmail)); diff != "" {
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
	never, doubt := planOf(bySMS), planOf(bySMS)
	mustPlan(t, l, doubt)
	mustRecord(t, l, settle(mustClaim(t, l, bySMS, 1)[0], "p", provider.Answer{Class: provider.Unknown}, doubts{wait: time.Minute, blind: true}))
	mustPlan(t, l, never)
	exec(t, l, `UPDATE delivery SET expires_at = now(), next_attempt_at = now()`)
	if got := mustClaim(t, l, bySMS, 10); len(got) != 0 {
		t.Fatal("claimed past its time")
	}
	mustSweep(t, l)
	if got := look(t, l, never[0].event, bySMS); got.State != expired || got.Reason != reasonLate {
		t.Errorf("never sent: %+v", got)
	}
	if got := look(t, l, doubt[0].event, bySMS); got.State != expired || got.Reason != reasonUnknown {
		t.Errorf("perhaps sent: %+v", got)
	}
}

func TestNextAttemptIsNeverPastTheEnd(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	plans := planOf(bySMS)
	mustPlan(t, l, plans)
	mustRecord(t, l, outcome{delivery: mustClaim(t, l, bySMS, 1)[0], state: unknown, wait: untilExpiry, class: provider.Unknown})
	if got := look(t, l, plans[0].event, bySMS); got.Wait > int(smsLifetime/time.Second) {
		t.Errorf("%+v", got)
	}
}

func TestWaiting(t *testing.T) {
	t.Parallel()
	l := newLedger(t)
	mustPlan(t, l, planOf(byEmail, bySMS))
	mustPlan(t, l, planOf(byEmail))
	exec(t, l, `UPDATE delivery SET next_attempt_at = now() - interval '90 s' WHERE channel = 'SMS'`)
	mustRecord(t, l, settle(mustClaim(t, l, byEmail, 1)[0], "p", provider.Answer{Class: provider.Accepted}, doubts{wait: 0, blind: true}))
	list, err := l.Waiting(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]int64)
	for _, w := range list {
		got[fmt.Sprint(w.Channel, w.State)] = w.Rows
		if w.Channel == bySMS && (w.Overdue < 90 || w.Overdue > 120) {
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
		plans := planOf(rapid.SampledFrom(channels).Draw(rt, "channel"))
		event, way := plans[0].event, plans[0].channel
		// The property looks at one row, so it must be the only one there is.
		exec(t, l, `TRUNCATE delivery, attempt`)
		mustPlan(t, l, plans)
		var held []delivery // claimed and not recorded, oldest first
		ends := map[state]bool{accepted: true, refused: true, expired: true, suppressed: true}
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
				before := look(t, l, event, way)
				got := mustClaim(t, l, way, 5)
				if len(got) > 0 && (before.State == sending || ends[before.State]) {
					rt.Fatalf("claimed from %s", before.State)
				}
				held = append(held, got...)
				check(before, look(t, l, event, way))
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
				o := giveBack(d, 0, reasonStopping)
				if c != "" {
					o = settle(d, "p", provider.Answer{Class: c}, doubts{wait: time.Minute, blind: true})
				}
				before := look(t, l, event, way)
				late := mustRecord(t, l, o)
				after := look(t, l, event, way)
				check(before, after)
				if len(late) == 1 && before != after {
					rt.Fatalf("a late outcome changed %+v to %+v", before, after)
				}
				if !last && len(late) == 0 {
					rt.Fatalf("an attempt that was overtaken was applied: %+v", after)
				}
			},
			"lapse": func(*rapid.T) { lapse(t, l) },
			"sweep": func(*rapid.T) {
				before := look(t, l, event, way)
				mustSweep(t, l)
				check(before, look(t, l, event, way))
			},
			"time passes": func(*rapid.T) { due(t, l) },
			"time is up": func(*rapid.T) {
				exec(t, l, `UPDATE delivery SET expires_at = now(),
					next_attempt_at = CASE WHEN next_attempt_at IS NOT NULL THEN now() END`)
			},
			"planned again": func(rt *rapid.T) {
				before := look(t, l, event, way)
				if mustPlan(t, l, plans) != 0 || look(t, l, event, way) != before {
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
		var plans []plan
		for range n {
			plans = append(plans, planOf(byEmail)...)
		}
		mustPlan(t, l, plans)
		claimed, err := l.Claim(t.Context(), byEmail, n, time.Minute)
		if err != nil || len(claimed) != n {
			t.Fatalf("%d claimed: %v", len(claimed), err)
		}
		var outcomes []outcome
		var reports []report
		for i, d := range claimed {
			outcomes = append(outcomes, outcome{delivery: d, state: accepted, class: provider.Accepted, provider: provider.NameSendGrid})
			other := claimed[n-1-i]
			reports = append(reports, report{provider: provider.NameSendGrid, id: uuid.NewString(), event: other.Event, channel: other.Channel, state: delivered})
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
	eventually(t, "sessions have ended", func() bool {
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

// However the database is away, callers are told the same.
func TestStatusOf(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]error{"57P03": errUnavailable, "28P01": errUnavailable, "25006": errUnavailable, "53300": errUnavailable, "40P01": errUnavailable} {
		if got := statusOf(fmt.Errorf("asking: %w", &pgconn.PgError{Code: code})); !errors.Is(got, want) {
			t.Errorf("%s: %v", code, got)
		}
	}
	if bug := (&pgconn.PgError{Code: "42P01"}); !errors.Is(statusOf(bug), bug) {
		t.Error("a fault of ours passes for an absence")
	}
}
