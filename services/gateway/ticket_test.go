package gateway

import (
	"bufio"
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/gateway/internal/answer"
)

// aTicket is also looked for in every log line and span.
const aTicket = "canari-du-billet"

// told has each watch tell one thing and stay open until the test ends.
func (b *backend) told(t *testing.T) {
	t.Helper()
	b.watch = func(ctx context.Context, send func(*messagingpb.WatchConversationsResponse) error) error {
		if err := send(&messagingpb.WatchConversationsResponse{UnreadCount: 1}); err != nil {
			return err
		}
		<-ctx.Done()
		return nil
	}
}

// A ticket takes a token's place on the way to a watch, and to nothing else.
func TestTicket_Forwarded(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, row := range []struct {
		what, caller, path string
		pairs              []string
		code               int
		reason, arrives    string
	}{
		{"members' watch", "nobody", watchPath + "?ticket=" + aTicket, nil, 200, "", aTicket},
		{"agents' watch", "nobody", "/v1/agent/conversations:watch?ticket=" + aTicket, nil, 200, "", aTicket},
		{"with a token", "member", watchPath + "?ticket=" + aTicket, nil, 400, "CREDENTIALS_AMBIGUOUS", ""},
		{"with a token that is bad", "garbage", watchPath + "?ticket=" + aTicket, nil, 400, "CREDENTIALS_AMBIGUOUS", ""},
		{"with what is no token", "nobody", watchPath + "?ticket=" + aTicket, []string{"Authorization", "Basic eDp5"}, 400, "CREDENTIALS_AMBIGUOUS", ""},
		{"none", "nobody", watchPath, nil, 401, "TOKEN_REQUIRED", ""},
		{"an empty one", "nobody", watchPath + "?ticket=", nil, 401, "TOKEN_REQUIRED", ""},
		{"two", "nobody", watchPath + "?ticket=" + aTicket + "&ticket=a", nil, 400, "PARAMETER_DUPLICATE", ""},
		{"two with a token", "member", watchPath + "?ticket=" + aTicket + "&ticket=", nil, 400, "PARAMETER_DUPLICATE", ""},
		{"in a query that cannot be read", "nobody", watchPath + "?ticket=" + aTicket + "&a=%zz", nil, 400, "QUERY_MALFORMED", ""},
		{"an empty one with a token", "member", watchPath + "?ticket=", nil, 200, "", ""},
		{"what cannot be one", "nobody", watchPath + "?ticket=" + url.QueryEscape("\x00é"), nil, 200, "", "-"},
		{"too long", "nobody", watchPath + "?ticket=" + strings.Repeat("a", 129), nil, 200, "", "-"},
		{"beside what is no parameter", "nobody", watchPath + "?ticket=" + aTicket + "&a=b", nil, 400, "PARAMETER_UNKNOWN", ""},
		{"as a header", "nobody", watchPath, []string{"Watch-Ticket", aTicket}, 401, "TOKEN_REQUIRED", ""},
		{"of another method", "nobody", "/v1/conversations?ticket=" + aTicket, nil, 401, "TOKEN_REQUIRED", ""},
		{"of another method, with a token", "member", "/v1/conversations?ticket=" + aTicket, nil, 400, "PARAMETER_UNKNOWN", ""},
		{"of another stream", "nobody", "/v1/me/export?ticket=" + aTicket, nil, 401, "TOKEN_REQUIRED", ""},
	} {
		got := s.rest(t, row.caller, "GET", row.path, "", row.pairs...)
		if got.code != row.code || row.reason != "" && answer.ReasonOf(got.status(t)).String() != row.reason {
			t.Errorf("%s: %d %s", row.what, got.code, got.body)
		}
		arrivals := s.take()
		if (row.code == 200) != (handled(arrivals) == 1) {
			t.Errorf("%s: %d calls arrived to be done", row.what, handled(arrivals))
			continue
		}
		if row.code == 200 {
			if ticket := strings.Join(arrivals[0].metadata.Get(rpc.TicketName), ","); ticket != row.arrives {
				t.Errorf("%s: the ticket %q arrived, want %q", row.what, ticket, row.arrives)
			}
		}
	}
	for name, pairs := range map[string][]string{"PARAMETER_DUPLICATE": {rpc.TicketName, "a", rpc.TicketName, "b"}, "CREDENTIALS_AMBIGUOUS": {rpc.TicketName, "a", "authorization", "Bearer " + s.tokens["member"]}} {
		ctx := metadata.AppendToOutgoingContext(t.Context(), pairs...)
		stream, err := messagingpb.NewMessagingServiceClient(s.grpc).WatchConversations(ctx, &messagingpb.WatchConversationsRequest{})
		if err == nil {
			_, err = stream.Recv()
		}
		if _, reason, _ := violation(status.Convert(err)); status.Code(err) != codes.InvalidArgument || reason != name && answer.ReasonOf(status.Convert(err)).String() != name {
			t.Errorf("gRPC, want %s: %v", name, err)
		}
	}
	for method, want := range map[string]codes.Code{
		messagingpb.MessagingService_WatchConversations_FullMethodName: codes.OK,
		messagingpb.MessagingService_ExportMyData_FullMethodName:       codes.Unauthenticated,
		messagingpb.MessagingService_ListConversations_FullMethodName:  codes.Unauthenticated,
	} {
		ctx := metadata.AppendToOutgoingContext(t.Context(), rpc.TicketName, aTicket)
		err := s.grpc.Invoke(ctx, method, &messagingpb.WatchConversationsRequest{}, &messagingpb.WatchConversationsResponse{})
		s.checkAdmission(t, method, want, status.Code(err))
	}
}

// What the service says of a ticket is told as it is.
func TestTicket_Refused(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.told(t)
	got := s.rest(t, "nobody", "GET", watchPath+"?ticket=spent", "")
	if got.code != http.StatusUnauthorized || answer.ReasonOf(got.status(t)) != rpc.ErrTicket.Reason || got.header.Get("WWW-Authenticate") == "" {
		t.Errorf("%d %v %s", got.code, got.header, got.body)
	}
}

// A stranger's watch counts against their address until the service has found out whose
// ticket it is: many who sit behind one address are not one caller.
func TestTicket_OneAddress(t *testing.T) {
	t.Parallel()
	s := start(t, func(cfg *Config) { cfg.StreamsPerCaller = 1 })
	s.told(t)
	// open returns when the watch has said its first word.
	open := func(ticket string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), "GET", s.url+watchPath+"?ticket="+ticket, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultTransport.(*http.Transport).Clone().RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s", ticket, resp.Status)
		}
		if _, err := bufio.NewReader(resp.Body).ReadString('}'); err != nil {
			t.Fatal(err)
		}
	}
	for _, ticket := range []string{"a", "b", "c"} {
		open(ticket)
	}
}

// Until then, strangers of one address have one caller's share together.
func TestTicket_Unanswered(t *testing.T) {
	t.Parallel()
	s := start(t, func(cfg *Config) { cfg.StreamsPerCaller = 1 })
	begun := make(chan struct{}, 2)
	s.watch = func(ctx context.Context, _ func(*messagingpb.WatchConversationsResponse) error) error {
		begun <- struct{}{}
		<-ctx.Done()
		return nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		stream, err := messagingpb.NewMessagingServiceClient(s.grpc).WatchConversations(
			metadata.AppendToOutgoingContext(ctx, rpc.TicketName, "a"), &messagingpb.WatchConversationsRequest{})
		if err == nil {
			_, err = stream.Recv()
		}
		ended <- err
	}()
	<-begun
	got := s.rest(t, "nobody", "GET", watchPath+"?ticket=b", "")
	if got.code != http.StatusTooManyRequests || answer.ReasonOf(got.status(t)) != errorpb.ErrorReason_STREAMS_TOO_MANY {
		t.Errorf("%d %v %s", got.code, got.header, got.body)
	}
	cancel()
	if err := <-ended; status.Code(err) != codes.Canceled {
		t.Error(err)
	}
}
