package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	notifierpb "github.com/ma-messagerie/messagerie/proto/messagerie/notifier/v1"
)

// gateway answers as the gateway does, on a real port, and keeps what it was asked.
type gateway struct {
	notifierpb.UnimplementedOperatorServiceServer
	addr   string
	asked  []proto.Message
	tokens []string
	fault  error
	// letters are how many dead letters there are.
	letters int
	// calm: nobody reads more than usual.
	calm bool
	// keys are how the keys stand.
	keys *messagingpb.GetKeysResponse
}

func serve(t *testing.T) *gateway {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gateway{addr: lis.Addr().String(), letters: 3, keys: &messagingpb.GetKeysResponse{
		Fit:      &messagingpb.KeyFit{CheckValueOpens: true, PrimaryKeyId: 8, Processes: 2},
		Keys:     []*messagingpb.WrappingKey{{Id: 7, Processes: 2, MemberKeys: 40, CheckValue: true}, {Id: 8, Processes: 2, PrimaryOf: 2, MemberKeys: 2}},
		Erasures: 5, OpenErasures: 1, PartsToRewrite: 3,
	}}
	server := grpc.NewServer(grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		g.asked = append(g.asked, proto.Clone(req.(proto.Message)))
		md, _ := metadata.FromIncomingContext(ctx)
		g.tokens = append(g.tokens, strings.Join(md.Get("authorization"), ","))
		if g.fault != nil {
			return nil, g.fault
		}
		return next(ctx, req)
	}))
	notifierpb.RegisterOperatorServiceServer(server, g)
	notifierpb.RegisterAgentServiceServer(server, timelines{})
	messagingpb.RegisterOperatorServiceServer(server, outbox{letters: g.letters, gateway: g})
	messagingpb.RegisterAgentServiceServer(server, agents{gateway: g})
	done := make(chan error, 1)
	go func() { done <- server.Serve(lis) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Error(err)
		}
	})
	return g
}

// dial connects with it.
func (g *gateway) dial(t *testing.T) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(g.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

var ended = timestamppb.New(time.Date(2026, 11, 23, 9, 30, 0, 0, time.UTC))

func (g *gateway) ListDeadLetters(_ context.Context, req *notifierpb.ListDeadLettersRequest) (*notifierpb.ListDeadLettersResponse, error) {
	var from int
	if _, err := fmt.Sscan(req.GetPageToken(), &from); err != nil {
		from = 0
	}
	resp := &notifierpb.ListDeadLettersResponse{}
	for i := from; i < min(g.letters, from+int(req.GetPageSize())); i++ {
		letter := &notifierpb.DeadLetter{
			Id: fmt.Sprintf("id-%d.EMAIL", i), Kind: notifierpb.DeadLetterKind_DELIVERY, EventType: "reply-posted", ConversationId: "c", Caisse: "armorique",
			State: notifierpb.DeliveryState_REFUSED, Reason: "HTTP_400", Provider: "sendgrid", Attempts: 1, EndTime: ended,
		}
		if i == 1 {
			letter = &notifierpb.DeadLetter{Id: "id-1.EVENT", Kind: notifierpb.DeadLetterKind_EVENT, Reason: "EVENT_UNREADABLE", EndTime: ended}
		}
		resp.DeadLetters = append(resp.DeadLetters, letter)
	}
	if next := from + int(req.GetPageSize()); next < g.letters {
		resp.NextPageToken = fmt.Sprint(next)
	}
	return resp, nil
}

func (g *gateway) ReplayDeadLetters(context.Context, *notifierpb.ReplayDeadLettersRequest) (*notifierpb.ReplayDeadLettersResponse, error) {
	return &notifierpb.ReplayDeadLettersResponse{Replayed: 2}, nil
}

func (g *gateway) DropDeadLetter(context.Context, *notifierpb.DropDeadLetterRequest) (*notifierpb.DropDeadLetterResponse, error) {
	return &notifierpb.DropDeadLetterResponse{}, nil
}

// outbox has as many refused events as there are dead letters.
type outbox struct {
	messagingpb.UnimplementedOperatorServiceServer
	letters int
	gateway *gateway
}

func (o outbox) ListRefusedEvents(_ context.Context, req *messagingpb.ListRefusedEventsRequest) (*messagingpb.ListRefusedEventsResponse, error) {
	resp := &messagingpb.ListRefusedEventsResponse{}
	for i := range min(o.letters, int(req.GetPageSize())) {
		event := &messagingpb.RefusedEvent{
			Id: fmt.Sprint("id-", i), Type: "reply-posted", Caisse: "armorique", ConversationId: "c", CreateTime: ended, Reason: "DENIED", Tries: 8, TryTime: ended,
		}
		if i == 0 {
			event.SetAsideTime = ended
		}
		resp.Events = append(resp.Events, event)
	}
	return resp, nil
}

func (outbox) RequeueRefusedEvents(context.Context, *messagingpb.RequeueRefusedEventsRequest) (*messagingpb.RequeueRefusedEventsResponse, error) {
	return &messagingpb.RequeueRefusedEventsResponse{Requeued: 2}, nil
}

func (outbox) DropRefusedEvent(context.Context, *messagingpb.DropRefusedEventRequest) (*messagingpb.DropRefusedEventResponse, error) {
	return &messagingpb.DropRefusedEventResponse{}, nil
}

func (o outbox) GetKeys(context.Context, *messagingpb.GetKeysRequest) (*messagingpb.GetKeysResponse, error) {
	return o.gateway.keys, nil
}

// RewrapKeys has three pages.
func (outbox) RewrapKeys(_ context.Context, req *messagingpb.RewrapKeysRequest) (*messagingpb.RewrapKeysResponse, error) {
	return &messagingpb.RewrapKeysResponse{Rewrapped: 20, NextPageToken: map[string]string{"": "a", "a": "b"}[req.GetPageToken()]}, nil
}

// ReconcileKeys has two pages.
func (outbox) ReconcileKeys(_ context.Context, req *messagingpb.ReconcileKeysRequest) (*messagingpb.ReconcileKeysResponse, error) {
	if req.GetPageToken() == "" {
		return &messagingpb.ReconcileKeysResponse{UnusedKeys: 2, UnusedKeyIds: []string{"u1", "u2"}, NextPageToken: "a"}, nil
	}
	return &messagingpb.ReconcileKeysResponse{RowsWithoutKey: 3, MissingKeyIds: []string{"m1"}}, nil
}

// timelines is the notifier as agents reach it.
type timelines struct {
	notifierpb.UnimplementedAgentServiceServer
}

func (timelines) ListDeliveries(context.Context, *notifierpb.AgentServiceListDeliveriesRequest) (*notifierpb.AgentServiceListDeliveriesResponse, error) {
	return &notifierpb.AgentServiceListDeliveriesResponse{Deliveries: []*notifierpb.Delivery{
		{Channel: notifierpb.Channel_EMAIL, Purpose: notifierpb.Purpose_ACKNOWLEDGEMENT, State: notifierpb.DeliveryState_DELIVERED, UpdateTime: ended},
		{Channel: notifierpb.Channel_SMS, Purpose: notifierpb.Purpose_ACKNOWLEDGEMENT, State: notifierpb.DeliveryState_SUPPRESSED, Reason: "NO_PHONE", UpdateTime: ended},
	}}, nil
}

// command runs a command line at the gateway, as somebody with a token.
func (g *gateway) command(t *testing.T, args ...string) (exit int, out, errs string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	exit = run(t.Context(), append([]string{"--gateway=" + g.addr, "--token=my-own-token"}, args...), &stdout, &stderr)
	if strings.Contains(stdout.String()+stderr.String(), "my-own-token") {
		t.Errorf("the token is in the output of %v", args)
	}
	return exit, stdout.String(), stderr.String()
}

func TestOutput(t *testing.T) {
	t.Parallel()
	rows := []struct{ args, out string }{
		{"deadletter list", `ID          ENDED                 STATE    REASON            PROVIDER  TRIES  EVENT         CONVERSATION
id-0.EMAIL  2026-11-23 09:30:00Z  refused  HTTP_400          sendgrid  1      reply-posted  c
id-1.EVENT  2026-11-23 09:30:00Z  -        EVENT_UNREADABLE  -         0      -             -
id-2.EMAIL  2026-11-23 09:30:00Z  refused  HTTP_400          sendgrid  1      reply-posted  c
`},
		{"deadletter replay id-0.EMAIL id-2.EMAIL", "dead letters to be retried: 2\n"},
		{"deadletter replay --all --dry-run", "dead letters that would be retried: 2\n"},
		{"deadletter drop id-0.EMAIL --note=gone", "id-0.EMAIL is off the list\n"},
		{"outbox list --limit=2", `ID    HAPPENED              REASON  TRIES  TRIED                 SET ASIDE             EVENT         CAISSE     CONVERSATION
id-0  2026-11-23 09:30:00Z  DENIED  8      2026-11-23 09:30:00Z  2026-11-23 09:30:00Z  reply-posted  armorique  c
id-1  2026-11-23 09:30:00Z  DENIED  8      2026-11-23 09:30:00Z  -                     reply-posted  armorique  c
`},
		{"outbox requeue --all", "events to be retried: 2\n"},
		{"outbox drop id-0", "id-0 will not be published; the event log keeps it\n"},
		{"keys status", `KEY  PROCESSES  WRAP BY IT  MEMBERS' KEYS  CHECK VALUE
7    2 of 2     0           40             yes
8    2 of 2     2           2              -
OK  8 wraps; the check value opens; 2 processes
erasures remembered: 5, not ended: 1; parts of the vault to be written anew: 3
`},
		{"keys rewrap", "keys wrapped anew: 60\n"},
		{"delivery list c", `CHANNEL  ABOUT            STATE       REASON    SINCE
email    acknowledgement  delivered   -         2026-11-23 09:30:00Z
sms      acknowledgement  suppressed  NO_PHONE  2026-11-23 09:30:00Z
`},
	}
	for _, row := range rows {
		exit, out, errs := serve(t).command(t, strings.Fields(row.args)...)
		if exit != 0 || errs != "" {
			t.Errorf("%s: exit %d, %s", row.args, exit, errs)
		}
		if diff := cmp.Diff(row.out, out); diff != "" {
			t.Errorf("%s: %s", row.args, diff)
		}
	}
}

func TestJSON(t *testing.T) {
	t.Parallel()
	g := serve(t)
	exit, out, _ := g.command(t, "--json", "deadletter", "list", "--limit=2")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if exit != 0 || len(lines) != 2 || !strings.Contains(strings.ReplaceAll(lines[0], " ", ""), `"reason":"HTTP_400"`) {
		t.Errorf("exit %d: %s", exit, out)
	}
	if exit, out, _ = g.command(t, "--json", "deadletter", "replay", "--all"); exit != 0 || strings.ReplaceAll(out, " ", "") != "{\"replayed\":2}\n" {
		t.Errorf("exit %d: %s", exit, out)
	}
}

// What is asked is what was said.
func TestRequests(t *testing.T) {
	t.Parallel()
	since := timestamppb.New(time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC))
	rows := map[string]proto.Message{
		"deadletter list --kind=event --limit=7":                                &notifierpb.ListDeadLettersRequest{Kind: notifierpb.DeadLetterKind_EVENT, PageSize: 7},
		"deadletter list --channel=sms --reason=TWILIO_21211 --provider=twilio": &notifierpb.ListDeadLettersRequest{Channel: notifierpb.Channel_SMS, Reason: "TWILIO_21211", Provider: "twilio", PageSize: 100},
		"deadletter replay a.SMS b.EVENT":                                       &notifierpb.ReplayDeadLettersRequest{Ids: []string{"a.SMS", "b.EVENT"}},
		"deadletter replay --all":                                               &notifierpb.ReplayDeadLettersRequest{Filter: &notifierpb.DeadLetterFilter{}},
		"deadletter replay --reason=HTTP_400 --since=2026-11-01T01:00:00+01:00 --dry-run": &notifierpb.ReplayDeadLettersRequest{
			Filter: &notifierpb.DeadLetterFilter{Reason: "HTTP_400", EndedFrom: since}, DryRun: true,
		},
		"deadletter replay --channel=email --until=2026-11-01T00:00:00Z": &notifierpb.ReplayDeadLettersRequest{
			Filter: &notifierpb.DeadLetterFilter{Channel: notifierpb.Channel_EMAIL, EndedBefore: since},
		},
		"deadletter drop a.SMS --note=gone": &notifierpb.DropDeadLetterRequest{Id: "a.SMS", Note: "gone"},
		"outbox list --limit=7":             &messagingpb.ListRefusedEventsRequest{PageSize: 7},
		"outbox requeue a b":                &messagingpb.RequeueRefusedEventsRequest{Ids: []string{"a", "b"}},
		"outbox requeue --all":              &messagingpb.RequeueRefusedEventsRequest{All: true},
		"outbox drop a":                     &messagingpb.DropRefusedEventRequest{Id: "a"},
		"delivery list c":                   &notifierpb.AgentServiceListDeliveriesRequest{ConversationId: "c"},
	}
	for args, want := range rows {
		g := serve(t)
		if exit, _, errs := g.command(t, strings.Fields(args)...); exit != 0 {
			t.Errorf("%s: exit %d, %s", args, exit, errs)
			continue
		}
		if diff := cmp.Diff(want, g.asked[0], protocmp.Transform()); diff != "" || g.tokens[0] != "Bearer my-own-token" {
			t.Errorf("%s, as %q: %s", args, g.tokens[0], diff)
		}
	}
}

func TestPaging(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ letters, limit, calls, listed int }{
		{0, 100, 1, 0}, {250, 100, 1, 100}, {250, 101, 2, 101}, {250, 300, 3, 250}, {100, 300, 1, 100}, {5, 1, 1, 1},
	} {
		g := serve(t)
		g.letters = row.letters
		exit, out, errs := g.command(t, "deadletter", "list", fmt.Sprint("--limit=", row.limit))
		if listed := strings.Count(out, "\n") - 1; exit != 0 || len(g.asked) != row.calls || listed != row.listed {
			t.Errorf("%+v: exit %d, %d calls, %d listed %s", row, exit, len(g.asked), listed, errs)
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	detailed := func(code codes.Code, message string, details ...protoadapt.MessageV1) error {
		st := status.New(code, message)
		for _, d := range details {
			more, err := st.WithDetails(d)
			if err != nil {
				t.Fatal(err)
			}
			st = more
		}
		return st.Err()
	}
	rows := []struct {
		fault error
		want  string
	}{
		{detailed(codes.NotFound, "no such dead letter", &errdetails.ErrorInfo{Reason: "DEAD_LETTER_NOT_FOUND"}), "messagerie: no such dead letter (DEAD_LETTER_NOT_FOUND)\n"},
		{detailed(codes.InvalidArgument, "id: must be a UUID", &errdetails.ErrorInfo{Reason: "DEAD_LETTER_ID_INVALID"}, &errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
			{Field: "id", Reason: "DEAD_LETTER_ID_INVALID", Description: "must be a UUID"},
		}}), "messagerie: id: must be a UUID (DEAD_LETTER_ID_INVALID)\n"},
		{detailed(codes.PermissionDenied, "not for you"), "messagerie: not for you\n"},
	}
	for _, row := range rows {
		g := serve(t)
		g.fault = row.fault
		exit, out, errs := g.command(t, "deadletter", "drop", "x", "--note=n")
		if exit != exitFailed || out != "" || errs != row.want {
			t.Errorf("exit %d, %q, want %q", exit, errs, row.want)
		}
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	g := serve(t)
	for args, want := range map[string]string{
		"deadletter replay":                               "--all",
		"deadletter replay a --all":                       "only one of these",
		"deadletter replay a --reason=x":                  "only one of these",
		"deadletter replay --all --channel=sms":           "only one of these",
		"deadletter drop a":                               "--note",
		"deadletter drop --note=n":                        "<id>",
		"deadletter list --limit=0":                       "--limit",
		"deadletter list --channel=fax":                   "--channel",
		"outbox requeue":                                  "--all",
		"outbox requeue a --all":                          "--all",
		"outbox list --limit=0":                           "--limit",
		"outbox drop":                                     "<id>",
		"deadletter replay --since=yesterday":             "--since",
		"nothing":                                         "nothing",
		"--gateway=example.org:443 deadletter list":       "--tls",
		"--gateway=10.0.0.7:9090 deadletter list":         "--tls",
		"--token-url=http://127.0.0.1:1/ deadletter list": "one of --token",
	} {
		exit, out, errs := g.command(t, strings.Fields(args)...)
		if exit != exitUsage || out != "" || !strings.Contains(errs, want) {
			t.Errorf("%s: exit %d, %q, want a word about %q", args, exit, errs, want)
		}
	}
	if len(g.asked) > 0 {
		t.Errorf("the gateway was asked %v", g.asked)
	}
	if exit, out, _ := g.command(t, "--help"); exit != 0 || !strings.Contains(out, "deadletter replay") {
		t.Errorf("help: exit %d, %s", exit, out)
	}
	var errs bytes.Buffer
	if exit := run(t.Context(), []string{"--gateway=" + g.addr, "deadletter", "list"}, &bytes.Buffer{}, &errs); exit != exitUsage || !strings.Contains(errs.String(), "say who you are") {
		t.Errorf("without a token: exit %d, %s", exit, &errs)
	}
}

func TestWhoIsCalling(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if user != "ops" || password != "s3cret" {
			http.Error(w, `{"error":"invalid_client","secret":"s3cret"}`, http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"access_token":"machine","token_type":"Bearer","expires_in":60}`)
	}))
	t.Cleanup(issuer.Close)
	good, bad := write("good", "s3cret\n"), write("bad", "wrong")
	machine := "--token-url=" + issuer.URL
	for _, row := range []struct {
		args  []string
		exit  int
		token string
	}{
		{[]string{"--token-file=" + write("token", " mine\n")}, 0, "Bearer mine"},
		{[]string{machine, "--client-id=ops", "--client-secret-file=" + good}, 0, "Bearer machine"},
		{[]string{machine, "--client-id=ops", "--client-secret-file=" + bad}, exitFailed, ""},
		{[]string{machine, "--client-id=ops"}, exitUsage, ""},
		{[]string{"--token-url=http://issuer.example.org/", "--client-id=ops", "--client-secret-file=" + good}, exitUsage, ""},
		{[]string{"--token-file=" + write("empty", "\n")}, exitFailed, ""},
		{[]string{"--token-file=" + filepath.Join(dir, "none")}, exitUsage, ""},
	} {
		g := serve(t)
		var out, errs bytes.Buffer
		exit := run(t.Context(), append(row.args, "--gateway="+g.addr, "deadletter", "list"), &out, &errs)
		if exit != row.exit || strings.Join(g.tokens, "") != row.token {
			t.Errorf("%v: exit %d as %q: %s", row.args, exit, g.tokens, &errs)
		}
		if strings.Contains(errs.String(), "s3cret") || strings.Contains(errs.String(), "invalid_client") {
			t.Errorf("%v: says too much: %s", row.args, &errs)
		}
	}
}
