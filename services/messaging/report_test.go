package messaging

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/report"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/text"
)

// busy checks that a call was refused for now, with the time to retry after.
func busy(t *testing.T, err error) {
	t.Helper()
	refused(t, err, codes.ResourceExhausted, "REPORTS_BUSY", "")
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.RetryInfo); ok && info.GetRetryDelay().AsDuration() > 0 {
			return
		}
	}
	t.Error("no RetryInfo")
}

// Reports that hang take nothing from members, nor from agents at work, and the
// next one is refused.
func TestReports_MembersGoOn(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.cfg.Reports = report.Config{Max: 1, Timeout: time.Minute}
	s.start(t)
	jeanne, claire := s.member(t, "jeanne"), s.clerk(t, "claire")
	first := jeanne.submit(t).GetId()

	// The status alone reads this table.
	tx, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.Background())
	if _, err := tx.Exec(t.Context(), `SET LOCAL idle_in_transaction_session_timeout = 0; LOCK TABLE goose_db_version IN ACCESS EXCLUSIVE MODE`); err != nil {
		t.Fatal(err)
	}
	client, answers := s.operators(t), make(chan error)
	const operators = 8 // more than there are connections
	for i := range operators {
		olga := s.clerk(t, fmt.Sprint("olga", i), map[string]any{"roles": []string{auth.RoleOperator}})
		go func() {
			_, err := client.GetStatus(olga.call(t), &messagingpb.GetStatusRequest{})
			answers <- err
		}()
	}
	messagingtest.Eventually(t, "the status waits", func() bool {
		return s.count(t, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND application_name LIKE '% reports'`) == 1
	})

	jeanne.submit(t)
	jeanne.see(t, first)
	claire.claim(t, first)
	if _, err := s.agent.ListConversations(claire.call(t), &messagingpb.AgentServiceListConversationsRequest{}); err != nil {
		t.Errorf("the queue: %v", err)
	}
	_, err = s.agent.GetStatistics(claire.call(t), &messagingpb.GetStatisticsRequest{})
	busy(t, err)

	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range operators {
		if err := <-answers; err != nil {
			t.Errorf("status: %v", err)
		}
	}
	claire.statistics(t, &messagingpb.GetStatisticsRequest{})
}

// One agent's answer is shared with those who may see the same, and with nobody else.
func TestReports_SharedWithinAScope(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.cfg.Reports.MaxAge = time.Hour
	s.start(t)
	counts := func(name string, claims map[string]any) string {
		t.Helper()
		c := s.clerk(t, name, claims)
		queues, err := s.agent.ListQueues(c.call(t), &messagingpb.ListQueuesRequest{})
		if err != nil {
			t.Fatal(err)
		}
		waiting := 0
		for _, queue := range queues.GetQueues() {
			waiting += int(queue.GetWaiting())
		}
		return fmt.Sprint(c.statistics(t, &messagingpb.GetStatisticsRequest{}).GetWaiting(), waiting)
	}
	jeanne := s.member(t, "jeanne")
	jeanne.submit(t)
	if got := counts("claire", nil); got != "1 1" {
		t.Errorf("the first agent: %s", got)
	}
	jeanne.submit(t, health)
	for _, row := range []struct {
		name, agent string
		claims      map[string]any
		want        string
	}{
		{"the same scope", "paul", nil, "1 1"},
		{"one queue", "paul", map[string]any{"queues": []string{"sante"}}, "1 1"},
		{"both queues", "paul", map[string]any{"queues": []string{"sante", "famille"}}, "2 2"},
		{"the same in another order", "marc", map[string]any{"queues": []string{"famille", "sante"}}, "2 2"},
		{"no queue", "paul", map[string]any{"queues": nil}, "0 0"},
		{"another caisse", "paul", map[string]any{"caisse": "msa-44"}, "0 0"},
	} {
		if got := counts(row.agent, row.claims); got != row.want {
			t.Errorf("%s: %s, want %s", row.name, got, row.want)
		}
	}
	days := s.clerk(t, "claire").statistics(t, &messagingpb.GetStatisticsRequest{Days: 7})
	if days.GetWaiting() != 2 {
		t.Errorf("another period: %d", days.GetWaiting())
	}
}

func TestScopeKey(t *testing.T) {
	t.Parallel()
	scopes := []conversation.Scope{
		{Caisse: "a"},
		{Caisse: "b"},
		{Caisse: "a", AllQueues: true},
		{Caisse: "a", Queues: []string{"x"}},
		{Caisse: "a", Queues: []string{"x", "y"}},
		{Caisse: "a", Queues: []string{"x y"}},
		{Caisse: "a", Queues: []string{`x" "y`}},
		{Caisse: `a" ["x"]`},
		{Caisse: `a" all`},
	}
	seen := make(map[string]conversation.Scope)
	for _, sc := range scopes {
		if other, taken := seen[sc.Key()]; taken {
			t.Errorf("%+v and %+v are one: %s", sc, other, sc.Key())
		}
		seen[sc.Key()] = sc
	}
	if a, b := (conversation.Scope{Queues: []string{"x", "y", "x"}}).Key(), (conversation.Scope{Queues: []string{"y", "x"}}).Key(); a != b {
		t.Errorf("%s and %s are two", a, b)
	}
}

// Usual answer times are read once for a selection of the taxonomy; what is no part of
// it makes no question of its own.
func TestReports_ExpectedDelayIsKept(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.cfg.Reports.MaxAge = time.Hour
	s.start(t)
	s.insert(t, past{caisse: "msa-75", queue: "famille", theme: "famille-logement", version: 1, status: messagingpb.Status_CLOSED, created: "now() - interval '3 days'", replied: "1 hour"})
	if _, err := s.pool.Exec(t.Context(), `INSERT INTO conversation (id, member_id, idempotency_key, reference, caisse, audience, taxonomy_version, theme, theme_label, queue, queue_label, status, created_at, first_reply_at)
		SELECT gen_random_uuid(), member_id, gen_random_uuid(), n::text, caisse, audience, 1, theme, '', queue, '', status, created_at, first_reply_at FROM conversation, generate_series(1, 30) AS n`); err != nil {
		t.Fatal(err)
	}
	ask := func(name, topic, caisse string) int32 {
		t.Helper()
		c := s.member(t, name, map[string]any{"caisse": caisse})
		resp, err := s.messaging.GetExpectedDelay(c.call(t), &messagingpb.GetExpectedDelayRequest{
			Audience: taxonomypb.Audience_PARTICULIER, Theme: "famille-logement", Topic: topic,
		})
		if err != nil {
			t.Fatal(err)
		}
		return resp.GetAnswers()
	}
	if got := ask("jeanne", "invented", "msa-75"); got != 31 {
		t.Fatalf("%d answers", got)
	}
	if _, err := s.pool.Exec(t.Context(), `DELETE FROM conversation`); err != nil {
		t.Fatal(err)
	}
	if a, b, c, d := ask("paul", "", "msa-75"), ask("paul", "made up", "msa-75"), ask("paul", "logement", "msa-75"), ask("paul", "", "msa-44"); a != 31 || b != 31 || c != 0 || d != 0 {
		t.Errorf("the theme %d, a made-up topic %d, a topic %d, another caisse %d", a, b, c, d)
	}
}

// An export that is not read takes a member's turn, and neither a connection nor
// anybody else's turn.
func TestExport_ThatIsNotRead(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.cfg.Reports.Max = 1
	// A window that does not grow, so that what is buffered is less than an export.
	conn := s.launch(t, grpc.WithInitialWindowSize(64<<10))
	if _, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true)); err != nil {
		t.Fatal(err)
	}
	jeanne, paul, claire := s.member(t, "jeanne"), s.member(t, "paul"), s.clerk(t, "claire")
	long := strings.Repeat("é", text.OfAgent.Max)
	for range 2 {
		id := jeanne.submit(t).GetId()
		for range 20 {
			if _, err := claire.agent.PostReply(claire.call(t, uuid.NewString()), &messagingpb.PostReplyRequest{Id: id, LastMessageId: s.last(t, id), Text: long}); err != nil {
				t.Fatal(err)
			}
		}
	}
	paul.submit(t)
	ctx, leave := context.WithCancel(jeanne.call(t))
	defer leave()
	stalled, err := jeanne.messaging.ExportMyData(ctx, &messagingpb.ExportMyDataRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stalled.Header(); err != nil { // it has begun
		t.Fatal(err)
	}
	again, err := jeanne.messaging.ExportMyData(jeanne.call(t), &messagingpb.ExportMyDataRequest{})
	if err != nil {
		t.Fatal(err)
	}
	busy(t, second(again.Recv()))
	if n := s.count(t, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE '% reports' AND state <> 'idle'`); n != 0 {
		t.Errorf("%d connections are held", n)
	}
	if _, _, texts := paul.export(t); len(texts) != 1 {
		t.Errorf("another member: %d texts", len(texts))
	}
	leave()
	messagingtest.Eventually(t, "the export has ended", func() bool {
		stream, err := jeanne.messaging.ExportMyData(jeanne.call(t), &messagingpb.ExportMyDataRequest{})
		if err != nil {
			return false
		}
		n := 0
		for ; err == nil; n++ {
			_, err = stream.Recv()
		}
		return errors.Is(err, io.EOF) && n > 3
	})
}
