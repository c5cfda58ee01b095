package messaging

import (
	"slices"
	"testing"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/bus"
	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
)

const deniedCaisse = "msa-33"

var deniedSubject = eventspb.Subject(eventspb.TypeMessageSubmitted, deniedCaisse)

// fillFor is fill for a caisse.
func (s *stage) fillFor(t *testing.T, caisse string, n int) (ids []uuid.UUID) {
	t.Helper()
	batch := make([]*submission, n)
	for i := range batch {
		batch[i] = newSubmission("jeanne", uuid.New(), func(sub *submission) { sub.conversation.Caisse = caisse })
		ids = append(ids, batch[i].event.ID)
	}
	if _, err := newStore(s.pool).insertSubmissions(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	return ids
}

// setAside puts events among those that are refused, as they are after so many tries.
func (s *stage) setAside(t *testing.T, caisse string, n int) (ids []uuid.UUID) {
	t.Helper()
	ids = s.fillFor(t, caisse, n)
	if _, err := s.pool.Exec(t.Context(), `
		WITH moved AS (DELETE FROM outbox WHERE id = ANY($1) RETURNING id, type, caisse, conversation_id, payload, trace, created_at)
		INSERT INTO outbox_refused (id, type, caisse, conversation_id, payload, trace, created_at, reason, tries, set_aside_at, next_try)
		SELECT id, type, caisse, conversation_id, payload, trace, created_at, 'DENIED', 8, now(), now() + interval '1 minute' FROM moved`, ids); err != nil {
		t.Fatal(err)
	}
	return ids
}

// Events that the broker refuses do not delay the others, even when there are more of them
// than one set has, and follow by themselves once it takes them.
func TestRefused_OthersPass(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.start(t) // makes the stream
	s.stop()
	s.broker.Deny(t, deniedSubject)
	denied := s.fillFor(t, deniedCaisse, 520)
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
	messagingtest.Eventually(t, "they are published", func() bool { return s.count(t, `SELECT count(*) FROM outbox_refused`) == 0 })
	got := eventIDs(t, s)
	for _, id := range denied {
		if !got[id.String()] {
			t.Errorf("event %s is not on the stream", id)
		}
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
	for field, wrong := range map[string]*messagingpb.RequeueRefusedEventsRequest{"ids": {}, "all": {All: true, Ids: []string{ids[0].String()}}} {
		_, err := operator.RequeueRefusedEvents(ctx, wrong)
		refused(t, err, codes.InvalidArgument, "SELECTION_INVALID", field)
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
	messagingtest.Eventually(t, "they are published", func() bool { return s.count(t, `SELECT count(*) FROM outbox_refused`) == 0 })
	if got := eventIDs(t, s); !got[ids[4].String()] || got[ids[0].String()] {
		t.Error("one is missing, or the one that was dropped is there")
	}
}
