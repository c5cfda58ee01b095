package notifier

import (
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	notifierpb "github.com/ma-messagerie/messagerie/proto/messagerie/notifier/v1"
)

func TestGetStatus(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	dead(t, s.ledger, byEmail, answer{class: classRefused, reason: "HTTP_400"})
	// One that waits for its repeat, and has been due for an hour.
	dead(t, s.ledger, bySMS, answer{class: classNotSent, reason: "HTTP_503"})
	exec(t, s.ledger, `UPDATE delivery SET next_attempt_at = now() - interval '1 hour', expires_at = now() + interval '1 hour', channel = 'EMAIL' WHERE state = 'retry'`)
	exec(t, s.ledger, `UPDATE attempt SET provider = CASE channel WHEN 'EMAIL' THEN 'sendgrid' ELSE 'twilio' END`)
	// Too old to count.
	exec(t, s.ledger, `INSERT INTO attempt (event_id, channel, attempt_id, started_at, finished_at, provider, outcome, applied)
		SELECT gen_random_uuid(), 'EMAIL', gen_random_uuid(), at, at, 'sendgrid', 'accepted', true FROM (SELECT now() - interval '61 minutes' AS at) AS t`)
	exec(t, s.ledger, `INSERT INTO report (provider, report_id, event_id, channel, state, received_at)
		VALUES ('twilio', 'r', gen_random_uuid(), 'SMS', 'delivered', now() - interval '2 minutes')`)
	exec(t, s.ledger, `INSERT INTO reconciliation (settled_until) VALUES (now() - interval '10 minutes')`)
	resp := &notifierpb.GetStatusResponse{}
	impl := &server{ledger: s.ledger, broker: s.publisher, lanes: []*lane{
		{channel: byEmail, gates: []*gate{newGate(providerSendGrid, time.Hour)}}, {channel: bySMS, gates: []*gate{newGate(providerTwilio, time.Hour)}},
	}}
	impl.lanes[1].gates[0].breaker.Open()
	eventually(t, "the broker answers", func() bool {
		var err error
		if resp, err = impl.GetStatus(t.Context(), &notifierpb.GetStatusRequest{}); err != nil {
			t.Fatal(err)
		}
		return resp.GetBrokerReachable()
	})
	w := resp.GetWaiting()
	if len(w) != 1 || w[0].GetState() != "retry" || w[0].GetDeliveries() != 1 || w[0].GetOverdue().AsDuration().Round(time.Minute) != time.Hour {
		t.Errorf("waiting: %v", w)
	}
	if resp.GetDeadLetters() != 1 || resp.GetReconcileLag().AsDuration().Round(time.Minute) != 10*time.Minute || resp.GetProviderWindow().AsDuration() != time.Hour || resp.GetSchemaVersion() == 0 {
		t.Errorf("got %v", resp)
	}
	p := resp.GetProviders()
	if len(p) != 2 || p[0].GetRefused() != 1 || p[0].GetAccepted() != 0 || p[0].GetFailedFiveMinutes() != 0 || p[0].GetBreakerOpen() || p[0].GetReportAge() != nil {
		t.Fatalf("providers: %v", p)
	}
	if p[1].GetFailedFiveMinutes() != 1 || p[1].GetCallsFiveMinutes() != 1 || !p[1].GetBreakerOpen() || p[1].GetReportAge().AsDuration().Round(time.Minute) != 2*time.Minute {
		t.Errorf("twilio: %v", p[1])
	}
}

func TestGetStatus_ForOperatorsAlone(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	client := s.dial(t)
	s.start(t)
	if resp, err := client.GetStatus(t.Context(), &notifierpb.GetStatusRequest{}, s.operator(t), grpc.WaitForReady(true)); err != nil || len(resp.GetProviders()) != 2 {
		t.Errorf("operator: %v, %v", resp, err)
	}
	for name, token := range map[string]string{
		"member": s.members.Token(t, map[string]any{"sub": "jeanne"}),
		"agent":  s.staff.Token(t, map[string]any{"sub": "paul", "roles": []string{auth.RoleAgent}}),
	} {
		if _, err := client.GetStatus(t.Context(), &notifierpb.GetStatusRequest{}, bearer(token)); status.Code(err) != codes.PermissionDenied {
			t.Errorf("%s: %v", name, err)
		}
	}
}
