package notifier

import (
	"context"
	"encoding/base64"
	"errors"
	"math"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/bus"
	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
	notifierpb "github.com/ma-messagerie/messagerie/proto/messagerie/notifier/v1"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/ledger"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/notifiertest"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/provider"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/provider/providertest"
)

// clients are the service as each kind of caller reaches it.
type clients struct {
	members   notifierpb.NotifierServiceClient
	agents    notifierpb.AgentServiceClient
	operators notifierpb.OperatorServiceClient
}

// dial opens a port for the next notifier that starts and returns a client of it.
func (s *stage) dial(t *testing.T) clients {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.cfg.Listener = lis
	conn, err := grpc.NewClient("passthrough:///"+lis.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return clients{notifierpb.NewNotifierServiceClient(conn), notifierpb.NewAgentServiceClient(conn), notifierpb.NewOperatorServiceClient(conn)}
}

func bearer(token string) grpc.CallOption {
	return grpc.PerRPCCredentials(tokenCredentials(token))
}

type tokenCredentials string

func (c tokenCredentials) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(c)}, nil
}

func (tokenCredentials) RequireTransportSecurity() bool { return false }

// operator is the token of somebody who may replay and drop.
func (s *stage) operator(t *testing.T) grpc.CallOption {
	t.Helper()
	return bearer(s.staff.Token(t, map[string]any{"sub": "olga", "roles": []string{auth.RoleOperator}}))
}

// dead plans a delivery and brings it to an end that a row of the tests names.
func dead(t *testing.T, l *ledger.Ledger, channel ledger.Channel, a provider.Answer) uuid.UUID {
	t.Helper()
	plans := planOf(channel)
	notifiertest.Plan(t, l, plans)
	notifiertest.Record(t, l, ledger.Settle(notifiertest.Claim(t, l, channel, 1)[0], "p", a, ledger.Doubts{Wait: 0, Blind: true}))
	return plans[0].EventID
}

// TestOperator walks through all of it as an operator does, over gRPC: list with
// pages, try in vain, replay, drop; and an event that could not be read.
func TestOperator(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	client := s.dial(t)
	s.providers.Answer(func(call *providertest.Call, w http.ResponseWriter) bool {
		if call.Channel == providertest.Email {
			w.WriteHeader(http.StatusBadRequest)
			return true
		}
		return false
	})
	s.start(t)
	const letters = 5
	for range letters {
		_, event := eventOf(t, eventspb.TypeReplyPosted, s.newcomer())
		s.publish(t, event)
	}
	id := uuid.New()
	s.publish(t, bus.Event{
		ID: id.String(), Type: eventspb.CEType(eventspb.DefaultDomain, eventspb.TypeReplyPosted), Source: "/messaging", Subject: eventspb.Subject(eventspb.TypeReplyPosted, "armorique"),
		Entity: uuid.NewString(), Time: time.Now(), Data: []byte("\xff"),
	})
	s.settled(t, 2*letters)
	ctx, operator := t.Context(), s.operator(t)
	var list []*notifierpb.DeadLetter
	notifiertest.Eventually(t, "all are listed", func() bool {
		list = nil
		req := &notifierpb.ListDeadLettersRequest{PageSize: 2}
		for {
			resp, err := client.operators.ListDeadLetters(ctx, req, operator)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, resp.GetDeadLetters()...)
			if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
				return len(list) == letters+1
			}
		}
	})
	if !slices.IsSortedFunc(list, func(a, b *notifierpb.DeadLetter) int { return b.GetEndTime().AsTime().Compare(a.GetEndTime().AsTime()) }) {
		t.Error("not newest first")
	}
	count := func(req *notifierpb.ListDeadLettersRequest) int {
		t.Helper()
		resp, err := client.operators.ListDeadLetters(ctx, req, operator)
		if err != nil {
			t.Fatal(err)
		}
		return len(resp.GetDeadLetters())
	}
	for i, row := range []struct {
		req  *notifierpb.ListDeadLettersRequest
		want int
	}{
		{&notifierpb.ListDeadLettersRequest{Kind: notifierpb.DeadLetterKind_EVENT}, 1},
		{&notifierpb.ListDeadLettersRequest{Kind: notifierpb.DeadLetterKind_DELIVERY}, letters},
		{&notifierpb.ListDeadLettersRequest{Channel: notifierpb.Channel_EMAIL}, letters},
		{&notifierpb.ListDeadLettersRequest{Channel: notifierpb.Channel_SMS}, 0},
		{&notifierpb.ListDeadLettersRequest{Kind: notifierpb.DeadLetterKind_EVENT, Channel: notifierpb.Channel_EMAIL}, 0},
		{&notifierpb.ListDeadLettersRequest{Reason: "HTTP_400", Provider: "sendgrid"}, letters},
		{&notifierpb.ListDeadLettersRequest{Reason: reasonEventUnread}, 1},
		{&notifierpb.ListDeadLettersRequest{PageSize: math.MaxInt32}, letters + 1},
	} {
		if got := count(row.req); got != row.want {
			t.Errorf("row %d: %d, want %d", i, got, row.want)
		}
	}
	s.checkRefusals(t, client)

	dry, err := client.operators.ReplayDeadLetters(ctx, &notifierpb.ReplayDeadLettersRequest{Filter: &notifierpb.DeadLetterFilter{}, DryRun: true}, operator)
	if err != nil || dry.GetReplayed() != letters+1 || count(&notifierpb.ListDeadLettersRequest{}) != letters+1 {
		t.Fatalf("dry run: %v, %v", dry, err)
	}
	s.providers.Answer(nil)
	all, err := client.operators.ReplayDeadLetters(ctx, &notifierpb.ReplayDeadLettersRequest{
		Filter: &notifierpb.DeadLetterFilter{EndedBefore: timestamppb.New(time.Now().Add(time.Hour))},
	}, operator)
	if err != nil || all.GetReplayed() != letters { // the event still cannot be read
		t.Fatalf("replay: %v, %v", all, err)
	}
	s.settled(t, 2*letters)
	if n := len(s.providers.Accepted(providertest.Email)); n != letters {
		t.Errorf("%d mails after the replay, want %d", n, letters)
	}
	resp, err := client.operators.ListDeadLetters(ctx, &notifierpb.ListDeadLettersRequest{}, operator)
	if err != nil || len(resp.GetDeadLetters()) != 1 || resp.GetDeadLetters()[0].GetKind() != notifierpb.DeadLetterKind_EVENT {
		t.Fatalf("left: %v, %v", resp, err)
	}
	// As if a version had come that can read it.
	read, readable := eventOf(t, eventspb.TypeReplyPosted, s.newcomer())
	notifiertest.Exec(t, s.pool, `UPDATE set_aside SET payload = $1`, readable.Data)
	name := resp.GetDeadLetters()[0].GetId()
	again, err := client.operators.ReplayDeadLetters(ctx, &notifierpb.ReplayDeadLettersRequest{Ids: []string{name}}, operator)
	if err != nil || again.GetReplayed() != 1 {
		t.Fatalf("replaying the event: %v, %v", again, err)
	}
	s.settled(t, 2*letters+2)
	var then int
	if err := s.pool.QueryRow(t.Context(), `SELECT count(*) FROM delivery d, set_aside a WHERE d.event_id = $1 AND d.logged_at = a.occurred_at`, read).Scan(&then); err != nil || then != 2 {
		t.Errorf("%d of its deliveries are of the event's time, %v; want 2", then, err)
	}
	if _, err := client.operators.DropDeadLetter(ctx, &notifierpb.DropDeadLetterRequest{Id: name, Note: "x"}, operator); status.Code(err) != codes.NotFound {
		t.Errorf("dropping what was replayed: %v", err)
	}
}

// checkRefusals: nobody but an operator, and nothing malformed.
func (s *stage) checkRefusals(t *testing.T, client clients) {
	t.Helper()
	ctx := t.Context()
	callers := map[string]struct {
		token grpc.CallOption
		want  codes.Code
	}{
		"nobody": {grpc.EmptyCallOption{}, codes.Unauthenticated},
		"member": {bearer(s.members.Token(t, map[string]any{"sub": "m"})), codes.PermissionDenied},
		"agent":  {bearer(s.staff.Token(t, map[string]any{"sub": "a", "roles": []string{auth.RoleAgent}})), codes.PermissionDenied},
	}
	for name, caller := range callers {
		_, err1 := client.operators.ListDeadLetters(ctx, &notifierpb.ListDeadLettersRequest{}, caller.token)
		_, err2 := client.operators.ReplayDeadLetters(ctx, &notifierpb.ReplayDeadLettersRequest{Filter: &notifierpb.DeadLetterFilter{}}, caller.token)
		_, err3 := client.operators.DropDeadLetter(ctx, &notifierpb.DropDeadLetterRequest{Id: uuid.NewString() + ".SMS", Note: "n"}, caller.token)
		for _, err := range []error{err1, err2, err3} {
			if status.Code(err) != caller.want {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	operator := s.operator(t)
	replay := func(req *notifierpb.ReplayDeadLettersRequest) error {
		_, err := client.operators.ReplayDeadLetters(ctx, req, operator)
		return err
	}
	drop := func(id, note string) error {
		_, err := client.operators.DropDeadLetter(ctx, &notifierpb.DropDeadLetterRequest{Id: id, Note: note}, operator)
		return err
	}
	list := func(token string) error {
		_, err := client.operators.ListDeadLetters(ctx, &notifierpb.ListDeadLettersRequest{PageToken: token}, operator)
		return err
	}
	reason := func(reason string) error {
		_, err := client.operators.ListDeadLetters(ctx, &notifierpb.ListDeadLettersRequest{Reason: reason}, operator)
		return err
	}
	name := uuid.NewString() + ".EMAIL"
	for what, err := range map[string]error{
		"SELECTION_INVALID neither":      replay(&notifierpb.ReplayDeadLettersRequest{}),
		"SELECTION_INVALID both":         replay(&notifierpb.ReplayDeadLettersRequest{Ids: []string{name}, Filter: &notifierpb.DeadLetterFilter{}}),
		"DEAD_LETTER_ID_INVALID replay":  replay(&notifierpb.ReplayDeadLettersRequest{Ids: []string{"x.EMAIL"}}),
		"DEAD_LETTER_ID_INVALID channel": drop(uuid.NewString()+".FAX", "n"),
		"note empty":                     drop(name, ""),
		"note long":                      drop(name, strings.Repeat("n", 201)),
		"PAGE_TOKEN_INVALID":             list("!"),
		"PAGE_TOKEN_INVALID 2":           list("YWJj"),
		"PAGE_TOKEN_INVALID NUL":         list(base64.RawURLEncoding.EncodeToString([]byte("2026-01-01T00:00:00Z " + uuid.NewString() + " EM\x00AIL"))),
		"CONTROL_CHARACTERS reason":      reason("HTTP\x00"),
		"CONTROL_CHARACTERS note":        drop(name, "a\x00b"),
	} {
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := drop(name, "n"); status.Code(err) != codes.NotFound {
		t.Errorf("unknown: %v", err)
	}
}

// A fault does not hide another one beside it.
func TestDeadLetters_FaultsAtOnce(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	client := s.dial(t)
	s.start(t)
	operator := s.operator(t)
	replay := func(filter *notifierpb.DeadLetterFilter, ids ...string) error {
		_, err := client.operators.ReplayDeadLetters(t.Context(), &notifierpb.ReplayDeadLettersRequest{Ids: ids, Filter: filter}, operator)
		return err
	}
	drop := func(id, note string) error {
		_, err := client.operators.DropDeadLetter(t.Context(), &notifierpb.DropDeadLetterRequest{Id: id, Note: note}, operator)
		return err
	}
	some, name := &notifierpb.DeadLetterFilter{}, uuid.NewString()+".EMAIL"
	for what, row := range map[string]struct {
		err  error
		want []string
	}{
		"a bad id without a note":  {drop("zzz", ""), []string{"note REQUIRED", "id DEAD_LETTER_ID_INVALID"}},
		"a good id without a note": {drop(name, ""), []string{"note REQUIRED"}},
		"empty ids and a filter":   {replay(some, "", ""), []string{"ids REQUIRED", "filter SELECTION_INVALID"}},
		"good ids and a filter":    {replay(some, name), []string{"filter SELECTION_INVALID"}},
		"neither":                  {replay(nil), []string{"ids SELECTION_INVALID"}},
		"a bad id":                 {replay(nil, name, "zzz"), []string{"ids DEAD_LETTER_ID_INVALID"}},
	} {
		var told []string
		for _, detail := range status.Convert(row.err).Details() {
			if bad, ok := detail.(*errdetails.BadRequest); ok {
				for _, v := range bad.GetFieldViolations() {
					told = append(told, v.GetField()+" "+v.GetReason())
				}
			}
		}
		if !slices.Equal(told, row.want) {
			t.Errorf("%s: %q, want %q (%v)", what, told, row.want, row.err)
		}
	}
}

// What is shown of an SMS about a reply, which few members want: nothing before it is known
// whether this one does.
func TestUndecided(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		about    ledger.EventType
		channel  ledger.Channel
		state    ledger.State
		attempts int
		want     bool
	}{
		{ledger.ReplyPosted, ledger.SMS, ledger.Planned, 0, true},
		{ledger.ReplyPosted, ledger.SMS, ledger.Sending, 1, true},
		{ledger.ReplyPosted, ledger.SMS, ledger.Expired, 0, true},
		{ledger.ReplyPosted, ledger.SMS, ledger.Sending, 2, false}, // tried already, so it is wanted
		{ledger.ReplyPosted, ledger.SMS, ledger.Retry, 1, false},
		{ledger.ReplyPosted, ledger.SMS, ledger.Unknown, 1, false},
		{ledger.ReplyPosted, ledger.SMS, ledger.Accepted, 1, false},
		{ledger.ReplyPosted, ledger.SMS, ledger.Expired, 1, false},
		{ledger.ReplyPosted, ledger.SMS, ledger.Suppressed, 0, false}, // wanted, and there is no number
		{ledger.ReplyPosted, ledger.Email, ledger.Planned, 0, false},
		{ledger.MessageSubmitted, ledger.SMS, ledger.Planned, 0, false},
	} {
		if got := undecided(ledger.Entry{EventType: row.about, Channel: row.channel, State: row.state, Attempts: row.attempts}); got != row.want {
			t.Errorf("%s by %s, %s after %d attempts: %t", row.about, row.channel, row.state, row.attempts, got)
		}
	}
}

// TestTimeline: who may see a conversation sees what became of its notifications,
// and nobody else learns that there is one.
func TestTimeline(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	client := s.dial(t)
	s.start(t)
	to := s.newcomer()
	to.Phone = ""
	s.mu.Lock()
	s.readers["member:jeanne"], s.readers["armorique"] = true, true
	s.mu.Unlock()
	_, event := eventOf(t, eventspb.TypeMessageSubmitted, to)
	s.publish(t, event)
	s.settled(t, 2)
	jeanne := bearer(s.members.Token(t, map[string]any{"sub": "jeanne"}))
	resp, err := client.members.ListDeliveries(t.Context(), &notifierpb.ListDeliveriesRequest{ConversationId: to.GetConversationId()}, jeanne)
	if err != nil || len(resp.GetDeliveries()) != 2 {
		t.Fatalf("%v, %v", resp, err)
	}
	mail, text := resp.GetDeliveries()[0], resp.GetDeliveries()[1]
	if mail.GetChannel() != notifierpb.Channel_EMAIL || mail.GetPurpose() != notifierpb.Purpose_ACKNOWLEDGEMENT || mail.GetState() != notifierpb.DeliveryState_ACCEPTED || mail.GetReason() != "" {
		t.Errorf("mail: %v", mail)
	}
	if text.GetChannel() != notifierpb.Channel_SMS || text.GetState() != notifierpb.DeliveryState_SUPPRESSED || text.GetReason() != ledger.ReasonNoPhone {
		t.Errorf("SMS: %v", text)
	}
	claire := bearer(s.staff.Token(t, map[string]any{"sub": "claire", "caisse": "armorique", "roles": []string{auth.RoleAgent}}))
	seen, err := client.agents.ListDeliveries(t.Context(), &notifierpb.AgentServiceListDeliveriesRequest{ConversationId: to.GetConversationId()}, claire)
	if err != nil || len(seen.GetDeliveries()) != 2 {
		t.Errorf("agent: %v, %v", seen, err)
	}
	one := &notifierpb.ListDeliveriesRequest{ConversationId: to.GetConversationId(), PageSize: 1}
	first, err := client.members.ListDeliveries(t.Context(), one, jeanne)
	if err != nil || len(first.GetDeliveries()) != 1 || first.GetDeliveries()[0].GetChannel() != notifierpb.Channel_EMAIL || first.GetNextPageToken() == "" {
		t.Fatalf("the first page: %v, %v", first, err)
	}
	one.PageToken = first.GetNextPageToken()
	rest, err := client.members.ListDeliveries(t.Context(), one, jeanne)
	if err != nil || len(rest.GetDeliveries()) != 1 || rest.GetDeliveries()[0].GetChannel() != notifierpb.Channel_SMS || rest.GetNextPageToken() != "" {
		t.Errorf("the second page: %v, %v", rest, err)
	}
	_, err = client.agents.ListDeliveries(t.Context(), &notifierpb.AgentServiceListDeliveriesRequest{ConversationId: one.GetConversationId(), PageToken: one.GetPageToken()}, claire)
	if status.Code(err) != codes.InvalidArgument {
		t.Errorf("the token of another list: %v", err)
	}
	paul := bearer(s.members.Token(t, map[string]any{"sub": "paul"}))
	_, err = client.members.ListDeliveries(t.Context(), &notifierpb.ListDeliveriesRequest{ConversationId: to.GetConversationId()}, paul)
	_, unknown := client.members.ListDeliveries(t.Context(), &notifierpb.ListDeliveriesRequest{ConversationId: uuid.NewString()}, paul)
	if status.Code(err) != codes.NotFound || !errors.Is(err, unknown) && err.Error() != unknown.Error() {
		t.Errorf("another's: %v; unknown: %v", err, unknown)
	}
	_, err = client.members.ListDeliveries(t.Context(), &notifierpb.ListDeliveriesRequest{ConversationId: "x"}, jeanne)
	if status.Code(err) != codes.InvalidArgument {
		t.Errorf("no id: %v", err)
	}
	// Nobody has asked whether this one is wanted: it was too late when it was planned.
	notifiertest.Plan(t, s.ledger, []ledger.Plan{{
		EventID: uuid.New(), Channel: ledger.SMS, EventType: ledger.ReplyPosted, ConversationID: uuid.MustParse(to.GetConversationId()), Caisse: "armorique", LoggedAt: time.Now().Add(-5 * time.Hour),
	}})
	s.settled(t, 3)
	if resp, err := client.members.ListDeliveries(t.Context(), &notifierpb.ListDeliveriesRequest{ConversationId: to.GetConversationId()}, jeanne); err != nil || len(resp.GetDeliveries()) != 2 {
		t.Errorf("with an SMS about a reply that expired untried: %v, %v", resp, err)
	}
}
