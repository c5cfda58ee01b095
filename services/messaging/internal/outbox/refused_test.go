package outbox

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/ma-messagerie/messagerie/chassis/bus"
	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/uuidv7"
)

// What the broker is, is nobody's fault: while it takes nothing, everything stays.
func TestRefused_NothingPasses(t *testing.T) {
	t.Parallel()
	s := newTables(t)
	s.fill(t, 20)
	offered := 0
	taken, result, err := s.relay(t.Context(), uuid.Nil, 10, func(rows []Row) (v verdict) {
		offered += len(rows)
		for _, row := range rows {
			v.refused = append(v.refused, refusal{id: row.ID, reason: bus.NoAcknowledgement, subject: "x"})
		}
		return v
	})
	if taken != 10 || offered != 20 || len(result.refused) != 0 || result.fault == nil || err != nil {
		t.Errorf("of %d taken and %d offered: %+v, %v", taken, offered, result, err)
	}
	if n := s.count(t, `SELECT count(*) FROM outbox`); n != 20 {
		t.Errorf("%d wait, want all", n)
	}
	// Those of a subject that was refused while others passed go nevertheless, without
	// holding up anything.
	taken, result, err = s.relay(t.Context(), uuid.Nil, 10, func(rows []Row) (v verdict) {
		for _, row := range rows {
			v.refused = append(v.refused, refusal{id: row.ID, reason: bus.NoAcknowledgement, subject: "x", known: true})
		}
		return v
	})
	if taken != 10 || len(result.refused) != 20 || result.fault != nil || err != nil {
		t.Errorf("of %d taken: %+v, %v", taken, result, err)
	}
	if n := s.count(t, `SELECT count(*) FROM outbox_refused`); n != 20 {
		t.Errorf("%d are refused, want all", n)
	}
}

// An event is set aside after eight tries in which others passed; of those set aside one
// of each subject is tried, and once it passes the others are too.
func TestRefused_SetAside(t *testing.T) {
	t.Parallel()
	s := newTables(t)
	db := s.Store
	s.fillFor(t, deniedCaisse, 3)
	s.fillFor(t, "msa-40", 2)
	refuseAll := func(reason string) func([]Row) verdict {
		return func(rows []Row) (v verdict) {
			for _, row := range rows {
				v.refused = append(v.refused, refusal{id: row.ID, reason: reason, known: true})
			}
			return v
		}
	}
	if _, _, err := db.relay(t.Context(), uuid.Nil, 10, refuseAll(bus.NoStream)); err != nil {
		t.Fatal(err)
	}
	tried := func(quiet time.Duration, passes string) (subjects []string) {
		t.Helper()
		_, err := db.retry(t.Context(), func() time.Duration { return quiet }, func(rows []Refused) (v verdict) {
			for _, row := range rows {
				subject := eventspb.Subject(row.Type, row.Caisse)
				subjects = append(subjects, subject)
				if subject == passes {
					v.acked = append(v.acked, row.ID)
				} else {
					v.refused = append(v.refused, refusal{id: row.ID, reason: bus.NoStream, subject: subject})
				}
			}
			return v
		})
		if err != nil {
			t.Fatal(err)
		}
		return subjects
	}
	if got := tried(0, ""); len(got) != 0 {
		t.Errorf("%v are tried at once", got)
	}
	aside := func() int { return s.count(t, `SELECT count(*) FROM outbox_refused WHERE set_aside_at IS NOT NULL`) }
	for range 20 {
		s.hurry(t)
		if got := tried(time.Hour, ""); len(got) != 5 {
			t.Fatalf("%v are tried, want 5", got)
		}
	}
	if n := aside(); n != 0 {
		t.Errorf("%d are set aside though nothing passed since", n)
	}
	for try := 2; try <= asideTries; try++ {
		if n := aside(); n != 0 {
			t.Errorf("%d are set aside after %d tries", n, try-1)
		}
		s.hurry(t)
		tried(time.Second, "")
	}
	if n := aside(); n != 5 {
		t.Errorf("%d are set aside after %d tries, want 5", n, asideTries)
	}
	if wait := s.count(t, `SELECT extract(epoch FROM max(next_try - tried_at))::integer FROM outbox_refused`); wait != 60 {
		t.Errorf("the next try is after %d s, want a minute", wait)
	}
	s.hurry(t)
	if got := tried(time.Second, ""); len(got) != 2 || got[0] == got[1] {
		t.Errorf("%v are tried, want one of each subject", got)
	}
	s.hurry(t)
	tried(time.Second, deniedSubject)
	if n := s.count(t, `SELECT count(*) FROM outbox_refused WHERE set_aside_at IS NULL AND next_try <= now() AND caisse = $1`, deniedCaisse); n != 2 || aside() != 2 {
		t.Errorf("%d of the subject that passes are tried again at once, want 2; %d are set aside", n, aside())
	}
	if got := tried(0, deniedSubject); len(got) != 2 || s.count(t, `SELECT count(*) FROM outbox_refused WHERE caisse = $1`, deniedCaisse) != 0 {
		t.Errorf("%v are tried, and not all have passed", got)
	}
}

// A clock that was ahead and went back leaves no event waiting for it to come there again.
func TestRefused_ClockGoesBack(t *testing.T) {
	t.Parallel()
	s := newTables(t)
	s.setAside(t, deniedCaisse, 1)
	if _, err := s.pool.Exec(t.Context(), `UPDATE outbox_refused SET tried_at = now() + interval '3 hours', next_try = now() + interval '3 hours 1 minute'`); err != nil {
		t.Fatal(err)
	}
	result, err := s.retry(t.Context(), func() time.Duration { return 0 }, func(rows []Refused) (v verdict) {
		for _, row := range rows {
			v.acked = append(v.acked, row.ID)
		}
		return v
	})
	if err != nil || len(result.acked) != 1 {
		t.Errorf("%d are tried, %v", len(result.acked), err)
	}
}

// What is known of subjects ends with the first event that passes, and after a while.
func TestRefused_Subjects(t *testing.T) {
	t.Parallel()
	r := newRefusals()
	if r.quiet() < 24*time.Hour {
		t.Error("something has been acknowledged before the start")
	}
	one := func(reason string, known bool) verdict {
		return verdict{refused: []refusal{{reason: reason, subject: "a", known: known}}, subjects: map[string]bool{"b": true}}
	}
	r.learn(one("EVENT_INVALID", false))
	r.learn(one(bus.NoStream, true))
	if got := r.reason("a"); got != "" {
		t.Errorf("an event that is too large, or was not tried, shows that its subject is refused: %s", got)
	}
	for _, reason := range []string{bus.NoStream, bus.NoAcknowledgement, bus.Denied} {
		r.learn(one(reason, false))
		if got := r.reason("a"); got != reason || r.reason("b") != "" || r.quiet() > time.Minute {
			t.Errorf("%s: a: %q, b: %q, quiet for %s", reason, got, r.reason("b"), r.quiet())
		}
		r.learn(verdict{subjects: map[string]bool{"a": true}})
		if got := r.reason("a"); got != "" {
			t.Errorf("%s: is refused though an event has passed: %s", reason, got)
		}
	}
	r.subjects["a"] = knownRefusal{bus.NoStream, time.Now().Add(-time.Second)}
	if got := r.reason("a"); got != "" || len(r.subjects) != 0 {
		t.Errorf("is known for ever: %s", got)
	}
	for i := range refusingMost + 1 {
		r.learn(verdict{refused: []refusal{{reason: bus.NoStream, subject: fmt.Sprint(i)}}})
	}
	if len(r.subjects) > refusingMost {
		t.Errorf("%d subjects are known", len(r.subjects))
	}
}

// What is set aside goes with the event log's days; what is still tried stays.
func TestRefused_Retention(t *testing.T) {
	t.Parallel()
	s := newTables(t)
	s.setAside(t, deniedCaisse, 3)
	if _, err := s.pool.Exec(t.Context(), `
		UPDATE outbox_refused SET created_at = created_at - interval '20 days', set_aside_at = CASE n WHEN 1 THEN set_aside_at END
		FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM outbox_refused) AS numbered WHERE numbered.id = outbox_refused.id AND n <= 2`); err != nil {
		t.Fatal(err)
	}
	if n, err := s.ForgetRefused(t.Context(), 15*24*time.Hour); n != 1 || err != nil {
		t.Errorf("%d, %v, want 1", n, err)
	}
	if n := s.count(t, `SELECT count(*) FROM outbox_refused`); n != 2 {
		t.Errorf("%d are kept, want 2", n)
	}
}

// Hints stop for those whose events are refused, so these say "look for yourself" too,
// until they are set aside.
func TestRefused_HubIsBlind(t *testing.T) {
	t.Parallel()
	s := newTables(t)
	db := s.Store
	s.setAside(t, deniedCaisse, 1)
	if _, err := s.pool.Exec(t.Context(), `UPDATE outbox_refused SET created_at = now() - interval '1 hour'`); err != nil {
		t.Fatal(err)
	}
	for _, want := range []bool{false, true} {
		if got, err := db.Stale(t.Context(), uuid.Nil, 10*time.Second); got != want || err != nil {
			t.Errorf("stale: %t, %v; want %t", got, err, want)
		}
		if _, err := s.pool.Exec(t.Context(), `UPDATE outbox_refused SET set_aside_at = NULL`); err != nil {
			t.Fatal(err)
		}
	}
}

// Where a whole set is refused, some of the newest show whether others pass. What lies
// between is not passed over.
func TestRefused_WhatLiesBetween(t *testing.T) {
	t.Parallel()
	s := newTables(t)
	s.broker.Deny(t, deniedSubject)
	events := s.connect(t)
	for _, set := range []struct {
		caisse string
		ago    time.Duration
		n      int
	}{{deniedCaisse, 2 * time.Hour, relayBatch}, {"msa-75", time.Hour, 40}, {"msa-75", 0, probeBatch + 5}} {
		for i := range set.n {
			id := uuidv7.First(time.Now().Add(-set.ago).Add(time.Duration(i) * time.Millisecond))
			copy(id[8:], uuid.New().NodeID())
			if _, err := s.pool.Exec(t.Context(), `INSERT INTO outbox (id, type, caisse, conversation_id, payload) VALUES ($1, $2, $3, $1, '')`,
				id, eventspb.TypeMessageSubmitted, set.caisse); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := NewRelay(s.Store, events, eventspb.DefaultDomain, time.Hour).drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := s.count(t, `SELECT count(*) FROM outbox`); n != 0 {
		t.Errorf("%d wait", n)
	}
	if n := s.count(t, `SELECT count(*) FROM outbox_refused`); n != relayBatch {
		t.Errorf("%d are refused, want %d", n, relayBatch)
	}
}
