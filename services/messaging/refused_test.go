package messaging

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/bus"
	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

const deniedCaisse = "msa-33"

var deniedSubject = eventspb.Subject(eventspb.TypeMessageSubmitted, deniedCaisse)

// fillFor is fill for a caisse.
func (s *stage) fillFor(t *testing.T, caisse string, n int) (ids []uuid.UUID) {
	t.Helper()
	batch := make([]*submission, n)
	for i := range batch {
		batch[i] = newSubmission("jeanne", uuid.New(), func(sub *submission) { sub.conversation.Caisse = caisse })
		ids = append(ids, batch[i].event.id)
	}
	if _, err := (&store{s.pool}).insertSubmissions(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	return ids
}

// setAside puts events among those that are refused, as they are after so many tries.
func (s *stage) setAside(t *testing.T, caisse string, n int) (ids []uuid.UUID) {
	t.Helper()
	ids = s.fillFor(t, caisse, n)
	if _, err := s.pool.Exec(t.Context(), `
		WITH moved AS (DELETE FROM outbox WHERE id = ANY($1) RETURNING `+outboxColumns+`)
		INSERT INTO outbox_refused (`+outboxColumns+`, reason, tries, set_aside_at, next_try)
		SELECT `+outboxColumns+`, 'DENIED', 8, now(), now() + interval '1 minute' FROM moved`, ids); err != nil {
		t.Fatal(err)
	}
	return ids
}

// Events that the broker refuses are out of the way of the others, more of them than one
// set has too, and follow by themselves once it takes them.
func TestRefused_OthersPass(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.start(t) // makes the stream
	s.stop()
	s.broker.Deny(t, deniedSubject)
	denied := s.fillFor(t, deniedCaisse, relayBatch+20)
	others := s.fillFor(t, "msa-75", 30)
	s.start(t)
	if got := eventIDs(t, s); len(got) != len(others) { // waits until the outbox is empty
		t.Errorf("%d events are published, want %d", len(got), len(others))
	}
	if n := s.count(t, `SELECT count(*) FROM outbox_refused WHERE reason = 'DENIED' AND set_aside_at IS NULL`); n != len(denied) {
		t.Errorf("%d are refused, want %d", n, len(denied))
	}
	jeanne := s.member(t, "jeanne") // of another caisse
	jeanne.submit(t)
	if got := eventIDs(t, s); len(got) != len(others)+1 {
		t.Errorf("%d events are published, want %d", len(got), len(others)+1)
	}
	s.broker.Deny(t)
	eventually(t, "they are published", func() bool { return s.count(t, `SELECT count(*) FROM outbox_refused`) == 0 })
	got := eventIDs(t, s)
	for _, id := range denied {
		if !got[id.String()] {
			t.Errorf("event %s is not on the stream", id)
		}
	}
}

// What the broker is, is nobody's fault: while it takes nothing, everything stays.
func TestRefused_NothingPasses(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.fill(t, 20)
	offered := 0
	taken, result, err := (&store{s.pool}).relayed(t.Context(), uuid.Nil, 10, func(rows []outboxRow) (v verdict) {
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
	taken, result, err = (&store{s.pool}).relayed(t.Context(), uuid.Nil, 10, func(rows []outboxRow) (v verdict) {
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

// hurry makes refused events due, as if nothing had happened since their last try but
// what the relay has seen.
func (s *stage) hurry(t *testing.T) {
	t.Helper()
	if _, err := s.pool.Exec(t.Context(), `UPDATE outbox_refused SET next_try = now(), tried_at = now() - interval '1 minute'`); err != nil {
		t.Fatal(err)
	}
}

// An event is set aside after eight tries in which others passed; of those set aside one
// of each subject is tried, and once it passes the others are too.
func TestRefused_SetAside(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	db := &store{s.pool}
	s.fillFor(t, deniedCaisse, 3)
	s.fillFor(t, "msa-40", 2)
	refuseAll := func(reason string) func([]outboxRow) verdict {
		return func(rows []outboxRow) (v verdict) {
			for _, row := range rows {
				v.refused = append(v.refused, refusal{id: row.ID, reason: reason, known: true})
			}
			return v
		}
	}
	if _, _, err := db.relayed(t.Context(), uuid.Nil, 10, refuseAll(bus.NoStream)); err != nil {
		t.Fatal(err)
	}
	tried := func(quiet time.Duration, passes string) (subjects []string) {
		t.Helper()
		_, err := db.retried(t.Context(), func() time.Duration { return quiet }, func(rows []refusedRow) (v verdict) {
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
	s := newStage(t)
	s.setAside(t, deniedCaisse, 1)
	if _, err := s.pool.Exec(t.Context(), `UPDATE outbox_refused SET tried_at = now() + interval '3 hours', next_try = now() + interval '3 hours 1 minute'`); err != nil {
		t.Fatal(err)
	}
	result, err := (&store{s.pool}).retried(t.Context(), func() time.Duration { return 0 }, func(rows []refusedRow) (v verdict) {
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

func TestRefused_Operator(t *testing.T) {
	t.Parallel()
	s := running(t)
	s.published(t)
	s.broker.Deny(t, deniedSubject)
	ids := s.setAside(t, deniedCaisse, 5)
	operator, ctx := s.operators(t), s.clerk(t, "olga", map[string]any{"roles": []string{auth.RoleOperator}}).call(t)
	var listed []string
	req := &messagingpb.ListRefusedEventsRequest{PageSize: 2}
	for {
		resp, err := operator.ListRefusedEvents(ctx, req)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range resp.GetEvents() {
			listed = append(listed, e.GetId())
			if e.GetType() != eventspb.TypeMessageSubmitted || e.GetCaisse() != deniedCaisse || e.GetReason() != bus.Denied || e.GetTries() != 8 ||
				e.GetSetAsideTime() == nil || e.GetTryTime() == nil || e.GetCreateTime() == nil || e.GetConversationId() == "" {
				t.Error(e)
			}
		}
		if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
			break
		}
	}
	slices.Sort(listed)
	if len(listed) != 5 || len(slices.Compact(listed)) != 5 {
		t.Errorf("%d are listed: %v", len(listed), listed)
	}
	status, err := operator.GetStatus(ctx, &messagingpb.GetStatusRequest{})
	if err != nil || status.GetSetAsideEvents() != 5 || status.GetOutboxEvents() != 0 || status.GetOutboxAge() != nil {
		t.Errorf("%v, %v", status, err)
	}
	for _, wrong := range []*messagingpb.RequeueRefusedEventsRequest{{}, {All: true, Ids: []string{ids[0].String()}}} {
		_, err := operator.RequeueRefusedEvents(ctx, wrong)
		refused(t, err, codes.InvalidArgument, "SELECTION_INVALID", "ids")
	}
	for range 2 {
		_, err = operator.DropRefusedEvent(ctx, &messagingpb.DropRefusedEventRequest{Id: ids[0].String()})
		if s.count(t, `SELECT count(*) FROM outbox_refused WHERE id = $1`, ids[0]) != 0 {
			t.Error("is kept")
		}
	}
	refused(t, err, codes.NotFound, "REFUSED_EVENT_NOT_FOUND", "")
	if n := s.count(t, `SELECT count(*) FROM audit JOIN event_log USING (conversation_id) WHERE action = 'event-dropped' AND event_log.id = $1`, ids[0]); n != 1 {
		t.Errorf("%d drops are noted, want one", n)
	}
	s.broker.Deny(t)
	requeued, err := operator.RequeueRefusedEvents(ctx, &messagingpb.RequeueRefusedEventsRequest{Ids: []string{ids[0].String(), ids[1].String()}})
	if err != nil || requeued.GetRequeued() != 1 {
		t.Errorf("%v, %v", requeued, err)
	}
	if _, err := operator.RequeueRefusedEvents(ctx, &messagingpb.RequeueRefusedEventsRequest{All: true}); err != nil {
		t.Error(err)
	}
	eventually(t, "they are published", func() bool { return s.count(t, `SELECT count(*) FROM outbox_refused`) == 0 })
	if got := eventIDs(t, s); !got[ids[4].String()] || got[ids[0].String()] {
		t.Error("one is missing, or the one that was dropped is there")
	}
}

// What is set aside goes with the event log's days; what is still tried stays.
func TestRefused_Retention(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.setAside(t, deniedCaisse, 3)
	if _, err := s.pool.Exec(t.Context(), `
		UPDATE outbox_refused SET created_at = created_at - interval '20 days', set_aside_at = CASE n WHEN 1 THEN set_aside_at END
		FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM outbox_refused) AS numbered WHERE numbered.id = outbox_refused.id AND n <= 2`); err != nil {
		t.Fatal(err)
	}
	if n, err := (&store{s.pool}).forgetRefused(t.Context(), 15*24*time.Hour); n != 1 || err != nil {
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
	s := newStage(t)
	db := &store{s.pool}
	s.setAside(t, deniedCaisse, 1)
	if _, err := s.pool.Exec(t.Context(), `UPDATE outbox_refused SET created_at = now() - interval '1 hour'`); err != nil {
		t.Fatal(err)
	}
	for _, want := range []bool{false, true} {
		if got, err := db.outboxStale(t.Context(), uuid.Nil, staleAfter); got != want || err != nil {
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
	s := newStage(t)
	s.broker.Deny(t, deniedSubject)
	events, err := bus.Connect("test", s.cfg.Bus, stream())
	if err != nil {
		t.Fatal(err)
	}
	defer events.Close()
	if err := events.EnsureStream(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, set := range []struct {
		caisse string
		ago    time.Duration
		n      int
	}{{deniedCaisse, 2 * time.Hour, relayBatch}, {"msa-75", time.Hour, 40}, {"msa-75", 0, probeBatch + 5}} {
		for i := range set.n {
			id := idAt(time.Now().Add(-set.ago).Add(time.Duration(i) * time.Millisecond))
			copy(id[8:], uuid.New().NodeID())
			if _, err := s.pool.Exec(t.Context(), `INSERT INTO outbox (id, type, caisse, conversation_id, payload) VALUES ($1, $2, $3, $1, '')`,
				id, eventspb.TypeMessageSubmitted, set.caisse); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := newRelay(&store{s.pool}, events, eventspb.DefaultDomain, time.Hour).drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := s.count(t, `SELECT count(*) FROM outbox`); n != 0 {
		t.Errorf("%d wait", n)
	}
	if n := s.count(t, `SELECT count(*) FROM outbox_refused`); n != relayBatch {
		t.Errorf("%d are refused, want %d", n, relayBatch)
	}
}
