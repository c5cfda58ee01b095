package notifier

import (
	"context"
	"fmt"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	reports "github.com/ma-messagerie/messagerie/chassis/report"
	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
	notifierpb "github.com/ma-messagerie/messagerie/proto/messagerie/notifier/v1"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/ledger"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/notifiertest"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/provider"
)

func TestGetStatus(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	dead(t, s.ledger, ledger.Email, provider.Answer{Class: provider.Refused, Reason: "HTTP_400"})
	// One that waits for its repeat, and has been due for an hour.
	dead(t, s.ledger, ledger.SMS, provider.Answer{Class: provider.NotSent, Reason: "HTTP_503"})
	notifiertest.Exec(t, s.pool, `UPDATE delivery SET next_attempt_at = now() - interval '1 hour', expires_at = now() + interval '1 hour', channel = 'EMAIL' WHERE state = 'retry'`)
	notifiertest.Exec(t, s.pool, `UPDATE attempt SET provider = CASE channel WHEN 'EMAIL' THEN 'sendgrid' ELSE 'twilio' END`)
	// Too old to count.
	notifiertest.Exec(t, s.pool, `INSERT INTO attempt (event_id, channel, attempt_id, started_at, finished_at, provider, outcome, applied)
		SELECT gen_random_uuid(), 'EMAIL', gen_random_uuid(), at, at, 'sendgrid', 'accepted', true FROM (SELECT now() - interval '61 minutes' AS at) AS t`)
	notifiertest.Exec(t, s.pool, `INSERT INTO report (provider, report_id, event_id, channel, state, received_at)
		VALUES ('twilio', 'r', gen_random_uuid(), 'SMS', 'delivered', now() - interval '2 minutes')`)
	notifiertest.Exec(t, s.pool, `INSERT INTO reconciliation (settled_until) VALUES (now() - interval '10 minutes')`)
	resp := &notifierpb.GetStatusResponse{}
	impl := &operatorServer{server: &server{apart: s.ledger, broker: s.publisher, lanes: []*lane{
		{channel: ledger.Email, gates: []*provider.Gate{provider.NewGate(provider.NameSendGrid, time.Hour)}}, {channel: ledger.SMS, gates: []*provider.Gate{provider.NewGate(provider.NameTwilio, time.Hour)}},
	}}}
	impl.lanes[1].gates[0].Learn(provider.Answer{Class: provider.ConfigFault})
	notifiertest.Eventually(t, "the broker answers", func() bool {
		var err error
		if resp, err = impl.status(t.Context()); err != nil {
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
	if resp, err := client.operators.GetStatus(t.Context(), &notifierpb.GetStatusRequest{}, s.operator(t), grpc.WaitForReady(true)); err != nil || len(resp.GetProviders()) != 2 {
		t.Errorf("operator: %v, %v", resp, err)
	}
	for name, token := range map[string]string{
		"member": s.members.Token(t, map[string]any{"sub": "jeanne"}),
		"agent":  s.staff.Token(t, map[string]any{"sub": "paul", "roles": []string{auth.RoleAgent}}),
	} {
		if _, err := client.operators.GetStatus(t.Context(), &notifierpb.GetStatusRequest{}, bearer(token)); status.Code(err) != codes.PermissionDenied {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Operators' questions that stand still hold up nothing that is sent, and the next one
// is refused with the time to come back.
func TestOperators_SendingGoesOn(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.cfg.Reports = reports.Config{Max: 1, Timeout: time.Minute}
	client := s.dial(t)
	s.start(t)
	if _, err := client.operators.GetStatus(t.Context(), &notifierpb.GetStatusRequest{}, s.operator(t), grpc.WaitForReady(true)); err != nil {
		t.Fatal(err)
	}
	// The status alone reads this table.
	tx, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.Background())
	if _, err := tx.Exec(t.Context(), `SET LOCAL idle_in_transaction_session_timeout = 0; LOCK TABLE goose_db_version IN ACCESS EXCLUSIVE MODE`); err != nil {
		t.Fatal(err)
	}
	answers := make(chan error)
	const operators = 8 // more than there are connections
	for i := range operators {
		token := bearer(s.staff.Token(t, map[string]any{"sub": fmt.Sprint("olga", i), "roles": []string{auth.RoleOperator}}))
		go func() {
			_, err := client.operators.GetStatus(t.Context(), &notifierpb.GetStatusRequest{}, token)
			answers <- err
		}()
	}
	notifiertest.Eventually(t, "the status waits", func() bool {
		var n int
		err := s.pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock' AND application_name LIKE '% reports'`).Scan(&n)
		return err == nil && n == 1
	})
	_, event := eventOf(t, eventspb.TypeMessageSubmitted, s.newcomer())
	s.publish(t, event)
	s.settled(t, 2)

	_, errList := client.operators.ListDeadLetters(t.Context(), &notifierpb.ListDeadLettersRequest{}, s.operator(t))
	_, errReplay := client.operators.ReplayDeadLetters(t.Context(), &notifierpb.ReplayDeadLettersRequest{Filter: &notifierpb.DeadLetterFilter{}}, s.operator(t))
	for name, err := range map[string]error{"list": errList, "replay": errReplay} {
		st := status.Convert(err)
		var wait time.Duration
		for _, detail := range st.Details() {
			if info, ok := detail.(*errdetails.RetryInfo); ok {
				wait = info.GetRetryDelay().AsDuration()
			}
		}
		if st.Code() != codes.ResourceExhausted || wait <= 0 {
			t.Errorf("%s: %v, to wait %s", name, err, wait)
		}
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range operators {
		if err := <-answers; err != nil {
			t.Errorf("status: %v", err)
		}
	}
}
