package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	notifierpb "github.com/ma-messagerie/messagerie/proto/messagerie/notifier/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

// system answers what the three services answer; nil is a service that is away.
type system struct {
	taxonomypb.UnimplementedOperatorServiceServer
	taxonomy  *taxonomypb.GetStatusResponse
	messaging *messagingpb.GetStatusResponse
	notifier  *notifierpb.GetStatusResponse
	fault     error
}

type messagingSide struct {
	messagingpb.UnimplementedOperatorServiceServer
	*system
}

type notifierSide struct {
	notifierpb.UnimplementedOperatorServiceServer
	*system
}

func told[T any](s *system, answer *T) (*T, error) {
	if s.fault != nil {
		return nil, s.fault
	}
	if answer == nil {
		return nil, status.Error(codes.Unavailable, "the service cannot be reached; try again")
	}
	return answer, nil
}

func (s *system) GetStatus(context.Context, *taxonomypb.GetStatusRequest) (*taxonomypb.GetStatusResponse, error) {
	return told(s, s.taxonomy)
}

func (s messagingSide) GetStatus(context.Context, *messagingpb.GetStatusRequest) (*messagingpb.GetStatusResponse, error) {
	return told(s.system, s.messaging)
}

func (s notifierSide) GetStatus(context.Context, *notifierpb.GetStatusRequest) (*notifierpb.GetStatusResponse, error) {
	return told(s.system, s.notifier)
}

func healthy() *system {
	return &system{
		taxonomy: &taxonomypb.GetStatusResponse{BuildVersion: "1.2.0", SchemaVersion: 2, Version: 7, PublishTime: timestamppb.New(time.Date(2026, 11, 1, 8, 0, 0, 0, time.UTC)), DatabaseReachable: true},
		messaging: &messagingpb.GetStatusResponse{
			SchemaVersion: 4, WaitingConversations: 12, OldestUnansweredAge: durationpb.New(3*time.Hour + 5*time.Minute), SubmissionsFiveMinutes: 41, SubmissionsHour: 500,
			NewestEventAge: durationpb.New(2 * time.Second), BrokerReachable: true,
			Keys: &messagingpb.KeyFit{CheckValueOpens: true, PrimaryKeyId: 3735928559, Processes: 2},
		},
		notifier: &notifierpb.GetStatusResponse{
			SchemaVersion: 3, ProviderWindow: durationpb.New(time.Hour), ReconcileLag: durationpb.New(41 * time.Second), BrokerReachable: true,
			Waiting:   []*notifierpb.WaitingDeliveries{{Channel: notifierpb.Channel_SMS, State: "retry", Deliveries: 2}},
			Providers: []*notifierpb.ProviderStatus{{Provider: "sendgrid", Accepted: 498, Refused: 1, Failed: 1, CallsFiveMinutes: 40, ReportAge: durationpb.New(9 * time.Second)}},
		},
	}
}

// look runs status at such a system.
func (s *system) look(t *testing.T, args ...string) (exit int, out, errs string) {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	taxonomypb.RegisterOperatorServiceServer(server, s)
	messagingpb.RegisterOperatorServiceServer(server, messagingSide{system: s})
	notifierpb.RegisterOperatorServiceServer(server, notifierSide{system: s})
	healthpb.RegisterHealthServer(server, health.NewServer())
	done := make(chan error, 1)
	go func() { done <- server.Serve(lis) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Error(err)
		}
	})
	var stdout, stderr bytes.Buffer
	exit = run(t.Context(), append([]string{"--gateway=" + lis.Addr().String(), "--token=t"}, args...), &stdout, &stderr)
	return exit, stdout.String(), stderr.String()
}

func TestStatus_Healthy(t *testing.T) {
	t.Parallel()
	exit, out, errs := healthy().look(t, "status")
	if exit != 0 || errs != "" {
		t.Errorf("exit %d, %s", exit, errs)
	}
	lines := strings.SplitN(out, "\n", 3)
	if !strings.HasPrefix(lines[1], "  process       OK    serving, answers in ") {
		t.Errorf("gateway: %q", lines[1])
	}
	want := `taxonomy        OK   
  process       OK    build 1.2.0, schema 2
  taxonomy      OK    version 7 since 2026-11-01 08:00:00Z
messaging       OK   
  process       OK    build -, schema 4
  agents        OK    12 wait, oldest without reply 3 h 05
  submissions   OK    41 in 5 min, 500 in 1 h; newest event 2 s
  outbox        OK    0 events, oldest -
  keys          OK    3735928559 wraps; the check value opens; 2 processes
  retention     OK    0 conversations purged in 1 day, 0 due
  broker        OK    answers
notifier        OK   
  process       OK    build -, schema 3
  sms           OK    2 retry, overdue -
  sendgrid      OK    498 taken, 1 refused, 1 failed in 1 h 00
    reports     OK    newest 9 s
  deadletters   OK    0 not handled
  reconcile     OK    41 s behind
  broker        OK    answers
`
	if diff := cmp.Diff(want, lines[2]); diff != "" {
		t.Error(diff)
	}
}

// A threshold counts from above it, as in the rules of Prometheus.
func TestStatus_Thresholds(t *testing.T) {
	t.Parallel()
	rows := map[string]struct {
		change func(*system)
		exit   int
		want   string // part of the output; empty: no runbook is named
	}{
		"outbox at a minute": {func(s *system) { s.messaging.OutboxAge = durationpb.New(time.Minute) }, 0, ""},
		"events set aside":   {func(s *system) { s.messaging.SetAsideEvents = 3 }, 0, "set aside     WATCH 3 events that the broker refuses\n                       docs/runbooks/outbox-set-aside.md"},
		"outbox old": {func(s *system) {
			s.messaging.OutboxAge = durationpb.New(61 * time.Second)
			s.messaging.OutboxEvents = 812
		}, 1, "outbox        BAD   812 events, oldest 1 min\n                       docs/runbooks/outbox-old.md"},
		"the vault is away":  {func(s *system) { s.messaging.Keys = nil }, 0, "keys          WATCH the vault does not answer\n"},
		"another key set":    {func(s *system) { s.messaging.Keys.CheckValueOpens = false }, 1, "keys          BAD   the key set does not fit the vault\n"},
		"a key is not known": {func(s *system) { s.messaging.Keys.ProcessesWithoutPrimary = 1 }, 1, "keys          BAD   1 of 2 processes lack a key that wraps\n"},
		"much is due": {func(s *system) {
			s.messaging.PurgedConversationsDay, s.messaging.DueConversations = 123_456, mostDue
		}, 0, "retention     OK    123456 conversations purged in 1 day, 10000 or more due\n"},
		"little is due":       {func(s *system) { s.messaging.DueConversations = mostDue - 1 }, 0, "retention     OK    0 conversations purged in 1 day, 9999 due\n"},
		"broker away":         {func(s *system) { s.messaging.BrokerReachable = false }, 0, "broker        WATCH does not answer\n"},
		"dead letters":        {func(s *system) { s.notifier.DeadLetters = 1 }, 0, "deadletters   WATCH 1 not handled\n                       docs/runbooks/dead-letters.md"},
		"database away":       {func(s *system) { s.taxonomy.DatabaseReachable = false }, 0, "database      WATCH away; members are served from memory"},
		"messaging away":      {func(s *system) { s.messaging = nil }, 1, "messaging       BAD  \n  process       BAD   no answer: the service cannot be reached; try again\n                       docs/runbooks/process-not-ready.md"},
		"queue at a week":     {func(s *system) { s.messaging.OldestUnansweredAge = durationpb.New(queueOld) }, 0, ""},
		"queue of a week":     {func(s *system) { s.messaging.OldestUnansweredAge = durationpb.New(queueOld + 1) }, 0, "queue-old"},
		"overdue at 15 min":   {func(s *system) { s.notifier.Waiting[0].Overdue = durationpb.New(overdueMost) }, 0, ""},
		"overdue":             {func(s *system) { s.notifier.Waiting[0].Overdue = durationpb.New(overdueMost + 1) }, 1, "deliveries-overdue"},
		"being sent":          {func(s *system) { w := s.notifier.Waiting[0]; w.State, w.Overdue = "sending", durationpb.New(time.Hour) }, 0, ""},
		"a hundred in doubt":  {func(s *system) { w := s.notifier.Waiting[0]; w.State, w.Deliveries = "unknown", 100 }, 0, ""},
		"more in doubt":       {func(s *system) { w := s.notifier.Waiting[0]; w.State, w.Deliveries = "unknown", 101 }, 0, "deliveries-in-doubt"},
		"reconcile lag":       {func(s *system) { s.notifier.ReconcileLag = durationpb.New(181 * time.Second) }, 1, "reconcile-lag"},
		"half of calls fail":  {func(s *system) { s.notifier.Providers[0].FailedFiveMinutes = 20 }, 0, ""},
		"most calls fail":     {func(s *system) { s.notifier.Providers[0].FailedFiveMinutes = 21 }, 1, "provider-failing"},
		"breaker":             {func(s *system) { s.notifier.Providers[0].BreakerOpen = true }, 1, "breaker open\n                       docs/runbooks/provider-failing.md"},
		"the key is refused":  {func(s *system) { s.notifier.Providers[0].ConfigFaultsTenMinutes = 1 }, 1, "provider-refuses-us"},
		"a name that is long": {func(s *system) { s.taxonomy.BuildVersion = strings.Repeat("é", 200) }, 0, ""},
	}
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := healthy()
			row.change(s)
			exit, out, errs := s.look(t, "status")
			if exit != row.exit || errs != "" || !strings.Contains(out, row.want) || row.want == "" && strings.Contains(out, "runbooks") {
				t.Errorf("exit %d, want %d with %q: %s\n%s", exit, row.exit, row.want, errs, out)
			}
			for line := range strings.Lines(out) {
				if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 {
					t.Errorf("%d columns: %s", n, line)
				}
			}
			if strings.Contains(out, "\x1b") {
				t.Error("colours without a terminal")
			}
		})
	}
}

func TestStatus_Refused(t *testing.T) {
	t.Parallel()
	s := healthy()
	s.fault = status.Error(codes.PermissionDenied, "not for you")
	if exit, out, errs := s.look(t, "status"); exit != exitFailed || out != "" || errs != "messagerie: not for you\n" {
		t.Errorf("exit %d, %q, %q", exit, out, errs)
	}
	if exit, _, errs := healthy().look(t, "status", "--watch=10ms"); exit != exitUsage || !strings.Contains(errs, "--watch") {
		t.Errorf("exit %d, %q", exit, errs)
	}
}

func TestStatus_JSON(t *testing.T) {
	t.Parallel()
	s := healthy()
	s.notifier.DeadLetters = 3
	exit, out, _ := s.look(t, "--json", "status")
	var got struct {
		Verdict string
		Parts   []struct{ Name, Verdict string }
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || exit != 0 || got.Verdict != "WATCH" || len(got.Parts) != 4 || got.Parts[3].Verdict != "WATCH" || strings.Count(out, "\n") != 1 {
		t.Errorf("exit %d, %v: %s", exit, err, out)
	}
}

// Nobody is there.
func TestStatus_NoGateway(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if exit := run(t.Context(), []string{"--gateway=127.0.0.1:1", "--token=t", "status"}, &out, &out); exit != exitFailed || strings.Count(out.String(), "no answer") != 4 {
		t.Errorf("exit %d: %s", exit, out.String())
	}
}
