package messaging

import (
	"sync"
	"testing"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

// fill puts n submissions into the database of a stage, without a process, and
// returns the ids of their events.
func (s *stage) fill(t *testing.T, n int) map[string]bool {
	t.Helper()
	ids := make(map[string]bool, n)
	batch := make([]*submission, n)
	for i := range batch {
		batch[i] = newSubmission("jeanne", uuid.New())
		ids[batch[i].event.ID.String()] = true
	}
	if _, err := newStore(s.pool).insertSubmissions(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	return ids
}

// eventIDs are the ids on the stream; one that is there twice fails the test.
func eventIDs(t *testing.T, s *stage) map[string]bool {
	t.Helper()
	ids := make(map[string]bool)
	for _, msg := range s.published(t) {
		id := msg.Header.Get("Nats-Msg-Id")
		if ids[id] || id == "" || msg.Header.Get("ce-id") != id {
			t.Errorf("event %q is on the stream twice, or without its id", id)
		}
		ids[id] = true
	}
	return ids
}

// A backlog that other processes left behind is found by polling,
// however many relays there are.
func TestRelay_TwoSideBySide(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	want := s.fill(t, 1501)
	first := s.start(t)
	s.start(t)
	jeanne := s.member(t, "jeanne")
	var wg sync.WaitGroup
	for _, p := range []*process{first, s.process} {
		wg.Go(func() {
			for range 20 {
				if _, err := p.messaging.SubmitMessage(jeanne.call(t, uuid.NewString()), question()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	got := eventIDs(t, s)
	if len(got) != len(want)+40 {
		t.Errorf("%d events on the stream, want %d", len(got), len(want)+40)
	}
	for id := range want {
		if !got[id] {
			t.Errorf("event %s is not on the stream", id)
		}
	}
	if logged := s.count(t, `SELECT count(*) FROM event_log`); logged != len(got) {
		t.Errorf("%d events in the log, %d on the stream", logged, len(got))
	}
}

func TestBrokerAway(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne := s.member(t, "jeanne")
	jeanne.submit(t)
	s.published(t)
	s.broker.Stop()
	const meanwhile = 10
	var last *messagingpb.Conversation
	for range meanwhile {
		last = jeanne.submit(t)
	}
	s.clerk(t, "claire").reply(t, last.GetId(), true)
	if n := s.count(t, `SELECT count(*) FROM outbox`); n != meanwhile+1 {
		t.Errorf("%d events wait, want %d", n, meanwhile+1)
	}
	// A process that starts without a broker answers too.
	s.stop()
	s.start(t)
	jeanne.submit(t)
	if n := s.count(t, `SELECT count(*) FROM outbox`); n != meanwhile+2 {
		t.Errorf("%d events wait after a restart, want %d", n, meanwhile+2)
	}
	s.broker.Start(t)
	if n := len(eventIDs(t, s)); n != meanwhile+3 {
		t.Errorf("%d events on the stream, want %d", n, meanwhile+3)
	}
}

// A broker that has lost its store gets its stream back, and what comes from then
// on. What it had acknowledged is in the event log.
func TestBrokerWiped(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne := s.member(t, "jeanne")
	jeanne.submit(t)
	s.published(t)
	s.broker.Stop()
	s.broker.Wipe(t)
	s.broker.Start(t)
	jeanne.submit(t)
	if n := len(eventIDs(t, s)); n != 1 {
		t.Errorf("%d events on the new stream", n)
	}
	if n := s.count(t, `SELECT count(*) FROM event_log`); n != 2 {
		t.Errorf("%d events in the log", n)
	}
}

func TestTaxonomyAway(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne := s.member(t, "jeanne")
	old := jeanne.submit(t)
	s.taxonomy.Current.Store(2)
	jeanne.submit(t, func(r *messagingpb.SubmitMessageRequest) { r.TaxonomyVersion = 2 })
	s.taxonomy.Leave()
	check := func() {
		t.Helper()
		for range 3 {
			jeanne.submit(t, func(r *messagingpb.SubmitMessageRequest) { r.TaxonomyVersion = 2 })
		}
		for version, reason := range map[int32]string{1: "TAXONOMY_VERSION_OUTDATED", 3: "TAXONOMY_VERSION_UNKNOWN"} {
			req := question()
			req.TaxonomyVersion = version
			_, err := s.messaging.SubmitMessage(jeanne.call(t, uuid.NewString()), req)
			refused(t, err, codes.InvalidArgument, reason, "taxonomyVersion")
		}
		// The queue of an older version, from what was kept.
		resp, err := s.recipients.BatchGetRecipients(s.machine(t).call(t), &messagingpb.BatchGetRecipientsRequest{ConversationIds: []string{old.GetId()}})
		if err != nil || len(resp.GetRecipients()) != 1 || resp.GetRecipients()[0].GetQueue().GetPhone() != "0100000001" {
			t.Errorf("%v, %v", resp, err)
		}
	}
	check()
	s.stop()
	s.start(t)
	check()
}

// A service that has never seen a version cannot check anything: a call is
// refused as UNAVAILABLE, and its health is NOT_SERVING. Once it is SERVING, the
// first call is answered.
func TestTaxonomyNeverSeen(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.taxonomy.Leave()
	conn := s.launch(t, grpc.WithDisableHealthCheck())
	jeanne := s.member(t, "jeanne")
	watch, err := healthpb.NewHealthClient(conn).Watch(t.Context(), &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := watch.Recv(); err != nil || got.GetStatus() != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Errorf("health: %v, %v", got, err)
	}
	_, err = s.messaging.SubmitMessage(jeanne.call(t, uuid.NewString()), question())
	refused(t, err, codes.Unavailable, "TAXONOMY_UNAVAILABLE", "")
	if ids, _ := jeanne.page(t, &messagingpb.ListConversationsRequest{}); len(ids) != 0 {
		t.Error(ids)
	}
	s.taxonomy.Serve(t)
	if got, err := watch.Recv(); err != nil || got.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Fatalf("health: %v, %v", got, err)
	}
	jeanne.submit(t)
}
