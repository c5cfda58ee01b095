package messaging

import (
	"maps"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/waiting"
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
	found, err := waiting.Everywhere(t.Context(), s.pool)
	if err != nil {
		t.Fatal(err)
	}
	if want := map[messagingpb.Status]int64{messagingpb.Status_SENT: 1, messagingpb.Status_PARTLY_ANSWERED: 1}; !maps.Equal(found.Counts, want) {
		t.Errorf("queue: %v, want %v", found.Counts, want)
	}
	if age := time.Duration(found.Unanswered * float64(time.Second)).Round(time.Hour); age != 2*time.Hour {
		t.Errorf("the oldest that nobody has answered is %s old", age)
	}
	messagingtest.Eventually(t, "the broker answers", func() bool { return look().GetBrokerReachable() })
	s.broker.Stop()
	s.member(t, "jeanne").submit(t)
	if got := look(); got.GetBrokerReachable() || got.GetOutboxEvents() != 1 || got.GetOutboxAge() == nil {
		t.Errorf("broker away: %v", got)
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
