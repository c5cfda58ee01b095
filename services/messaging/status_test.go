package messaging

import (
	"maps"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
)

func (s *stage) operators(t *testing.T) messagingpb.OperatorServiceClient {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+s.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return messagingpb.NewOperatorServiceClient(conn)
}

func TestGetStatus(t *testing.T) {
	t.Parallel()
	s := running(t)
	client := s.operators(t)
	olga := s.clerk(t, "olga", map[string]any{"roles": []string{auth.RoleOperator}})
	look := func() *messagingpb.GetStatusResponse {
		t.Helper()
		resp, err := client.GetStatus(olga.call(t), &messagingpb.GetStatusRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	if got := look(); got.GetSchemaVersion() == 0 || got.GetOldestUnansweredAge() != nil || got.GetOutboxAge() != nil || got.GetNewestEventAge() != nil {
		t.Errorf("empty: %v", got)
	}
	s.insert(t, past{caisse: "msa-75", queue: "famille", version: 1, status: messagingpb.Status_SENT, created: "now() - interval '2 hours'"},
		past{caisse: "msa-35", queue: "sante", version: 1, status: messagingpb.Status_PARTLY_ANSWERED, created: "now() - interval '9 hours'", replied: "1 hour"},
		past{caisse: "msa-75", queue: "famille", version: 1, status: messagingpb.Status_CLOSED, created: "now() - interval '20 hours'"})
	if _, err := s.pool.Exec(t.Context(), `INSERT INTO event_log (id, type, caisse, conversation_id, payload, created_at)
		SELECT gen_random_uuid(), type, 'msa-75', gen_random_uuid(), '', now() - age::interval FROM (VALUES
			('message-submitted', '1 minute'), ('message-submitted', '6 minutes'), ('message-submitted', '61 minutes'), ('reply-posted', '30 seconds')) AS v (type, age)`); err != nil {
		t.Fatal(err)
	}
	got := look()
	if got.GetWaitingConversations() != 2 || got.GetOldestUnansweredAge().AsDuration().Round(time.Hour) != 2*time.Hour {
		t.Errorf("waiting: %v", got)
	}
	if got.GetSubmissionsFiveMinutes() != 1 || got.GetSubmissionsHour() != 2 || got.GetNewestEventAge().AsDuration().Round(10*time.Second) != 30*time.Second {
		t.Errorf("events: %v", got)
	}
	found, err := (&store{s.pool}).queueState(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := map[messagingpb.Status]int64{messagingpb.Status_SENT: 1, messagingpb.Status_PARTLY_ANSWERED: 1}; !maps.Equal(found.counts, want) {
		t.Errorf("queue: %v, want %v", found.counts, want)
	}
	if age := time.Duration(found.unanswered * float64(time.Second)).Round(time.Hour); age != 2*time.Hour {
		t.Errorf("the oldest that nobody has answered is %s old", age)
	}
	messagingtest.Eventually(t, "the broker answers", func() bool { return look().GetBrokerReachable() })
	s.broker.Stop()
	s.member(t, "jeanne").submit(t)
	if got := look(); got.GetBrokerReachable() || got.GetOutboxEvents() != 1 || got.GetOutboxAge() == nil {
		t.Errorf("broker away: %v", got)
	}
}

// The figures of submissions are the same whether slots have been added up or not, and
// however often; a clock that was ahead keeps none from being counted.
func TestSubmissions(t *testing.T) {
	t.Parallel()
	s := &store{messagingtest.Pool(t)}
	run := func(sql string) {
		t.Helper()
		if _, err := s.pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	run(`INSERT INTO event_log (id, type, caisse, conversation_id, payload, created_at)
		SELECT gen_random_uuid(), type, 'msa-75', gen_random_uuid(), '', date_bin('10 seconds', now(), timestamptz 'epoch') + interval '2 seconds' - age::interval FROM generate_series(1, 3), (VALUES
			('message-submitted', '10 seconds'), ('message-submitted', '4 minutes'), ('message-submitted', '6 minutes'), ('message-submitted', '59 minutes'),
			('message-submitted', '61 minutes'), ('reply-posted', '4 minutes')) AS v (type, age)`)
	slots := func() (n int) {
		t.Helper()
		if err := s.pool.QueryRow(t.Context(), `SELECT count(*) FROM submission_slot`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	check := func(when string) {
		t.Helper()
		got, err := s.status(t.Context(), uuid.Nil)
		if err != nil {
			t.Fatal(err)
		}
		if got.GetSubmissionsFiveMinutes() != 6 || got.GetSubmissionsHour() != 12 {
			t.Errorf("%s: %d in five minutes and %d in an hour, want 6 and 12", when, got.GetSubmissionsFiveMinutes(), got.GetSubmissionsHour())
		}
	}
	check("not added up")
	for range 2 {
		if err := s.foldSubmissions(t.Context()); err != nil {
			t.Fatal(err)
		}
		check("added up")
		if n := slots(); n != 3 { // without what is not past, or too long past
			t.Errorf("%d slots, want 3", n)
		}
	}
	run(`INSERT INTO submission_slot (slot, n) VALUES (now() + interval '1 hour', 9), (now() - interval '3 hours', 9)`)
	check("a clock was ahead")
	if err := s.foldSubmissions(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := slots(); n != 3 {
		t.Errorf("%d slots, want 3: those to come and old ones are kept", n)
	}
}

func TestGetStatus_ForOperatorsAlone(t *testing.T) {
	t.Parallel()
	s := running(t)
	client := s.operators(t)
	for name, c := range map[string]caller{"member": s.member(t, "jeanne"), "agent": s.clerk(t, "paul"), "machine": s.machine(t)} {
		if _, err := client.GetStatus(c.call(t), &messagingpb.GetStatusRequest{}); status.Code(err) != codes.PermissionDenied {
			t.Errorf("%s: %v", name, err)
		}
	}
}
