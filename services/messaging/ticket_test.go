package messaging

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/watch"
)

// ticket asks for one.
func (c caller) ticket(t *testing.T) string {
	t.Helper()
	resp, err := c.messaging.CreateWatchTicket(c.call(t), &messagingpb.CreateWatchTicketRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(resp.GetExpireTime().AsTime()); len(resp.GetTicket()) != 43 || left > watch.TicketLife {
		t.Fatalf("%d characters, %s left", len(resp.GetTicket()), left)
	}
	return resp.GetTicket()
}

// with is the context of a call with a ticket, and nothing else.
func with(t *testing.T, ticket string) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), messagingtest.Patience)
	t.Cleanup(cancel)
	return metadata.AppendToOutgoingContext(ctx, rpc.TicketName, ticket)
}

// watchWith opens a member's watch with a ticket and returns what waits for its next hint.
func (s *stage) watchWith(t *testing.T, ticket string) (next func() (string, error)) {
	t.Helper()
	stream, err := s.messaging.WatchConversations(with(t, ticket), &messagingpb.WatchConversationsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return func() (string, error) {
		got, err := stream.Recv()
		return got.GetConversationId(), err
	}
}

// queueWith is watchWith for agents.
func (s *stage) queueWith(t *testing.T, ticket string) (next func() (string, error)) {
	t.Helper()
	stream, err := s.agent.WatchConversations(with(t, ticket), &messagingpb.AgentServiceWatchConversationsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return func() (string, error) {
		got, err := stream.Recv()
		return got.GetConversationId(), err
	}
}

func invalid(t *testing.T, why string, next func() (string, error)) {
	t.Helper()
	t.Log(why)
	_, err := next()
	refused(t, err, codes.Unauthenticated, "WATCH_TICKET_INVALID", "")
}

// A ticket identifies its caller and what they may see, without a name.
func TestTicket(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, marc := s.member(t, "jeanne"), s.member(t, "marc")
	inHealth := s.clerk(t, "claire", map[string]any{"queues": []string{"sante"}})
	s.warmUp(t, s.member(t, "warm"))
	mine, theirs := jeanne.ticket(t), inHealth.ticket(t)
	if dump := s.dump(t); holdsSecret(dump) != "" || strings.Contains(dump, mine) || strings.Contains(dump, "Canari (agent)") {
		t.Error("the database holds a ticket, or whose it is, in clear")
	}
	member, agent := s.watchWith(t, mine), s.queueWith(t, theirs)
	for name, next := range map[string]func() (string, error){"member": member, "agent": agent} {
		if first, err := next(); first != "" || err != nil {
			t.Fatalf("%s: the first hint is %q, %v", name, first, err)
		}
	}
	marc.submit(t)
	ofMarc := marc.submit(t, health).GetId()
	ofJeanne := jeanne.submit(t).GetId()
	if got, err := member(); got != ofJeanne || err != nil {
		t.Errorf("the member got a hint about %q, %v; want her own", got, err)
	}
	if got, err := agent(); got != ofMarc || err != nil {
		t.Errorf("the agent got a hint about %q, %v; want what is in their queue", got, err)
	}
	invalid(t, "used twice", s.watchWith(t, mine))
}

func TestTicket_Invalid(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire := s.member(t, "jeanne"), s.clerk(t, "claire")
	late := jeanne.ticket(t)
	if _, err := s.pool.Exec(t.Context(), `UPDATE watch_ticket SET created_at = created_at - interval '61 seconds'`); err != nil {
		t.Fatal(err)
	}
	invalid(t, "late", s.watchWith(t, late))
	invalid(t, "unknown", s.watchWith(t, "x"))
	ofMember, ofAgent := jeanne.ticket(t), claire.ticket(t)
	invalid(t, "a member's, for the agents' watch", s.queueWith(t, ofMember))
	invalid(t, "which used it up", s.watchWith(t, ofMember))
	invalid(t, "an agent's, for members' watch", s.watchWith(t, ofAgent))
	if n := s.count(t, `SELECT count(*) FROM watch_ticket`); n != 0 {
		t.Errorf("%d tickets are left", n)
	}
	// Its token decides what a machine may see, by a ticket too.
	machine := func(scope string) caller {
		return caller{s, s.machines.Token(t, map[string]any{"sub": "crm", "caisse": "msa-75", "queues": []string{"*"}, "roles": []string{auth.RoleAgent}, "scope": scope})}
	}
	_, err := s.messaging.CreateWatchTicket(machine("queue.read").call(t), &messagingpb.CreateWatchTicketRequest{})
	refused(t, err, codes.PermissionDenied, "SCOPE_MISSING", "")
	invalid(t, "of a machine that may not read", s.queueWith(t, machine("watches.write").ticket(t)))
	if _, err := s.queueWith(t, machine("watches.write queue.read").ticket(t))(); err != nil {
		t.Error(err)
	}
	// Nobody else is given one.
	_, err = s.messaging.CreateWatchTicket(s.machine(t).call(t), &messagingpb.CreateWatchTicketRequest{})
	refused(t, err, codes.PermissionDenied, "ACCESS_DENIED", "")
	_, err = s.messaging.CreateWatchTicket(t.Context(), &messagingpb.CreateWatchTicketRequest{})
	refused(t, err, codes.Unauthenticated, "TOKEN_REQUIRED", "")
}

// A ticket opens watches and nothing else, and is not used up by it.
func TestTicket_NoToken(t *testing.T) {
	t.Parallel()
	s := running(t)
	ticket := s.member(t, "jeanne").ticket(t)
	_, err := s.messaging.ListConversations(with(t, ticket), &messagingpb.ListConversationsRequest{})
	refused(t, err, codes.Unauthenticated, "TOKEN_REQUIRED", "")
	_, err = s.messaging.CreateWatchTicket(with(t, ticket), &messagingpb.CreateWatchTicketRequest{})
	refused(t, err, codes.Unauthenticated, "TOKEN_REQUIRED", "")
	export, err := s.messaging.ExportMyData(with(t, ticket), &messagingpb.ExportMyDataRequest{})
	if err == nil {
		_, err = export.Recv()
	}
	refused(t, err, codes.Unauthenticated, "TOKEN_REQUIRED", "")
	// Nor does it mend a token that is bad.
	bad, err := s.messaging.WatchConversations(metadata.AppendToOutgoingContext(with(t, ticket), "authorization", "Bearer x.y.z"), &messagingpb.WatchConversationsRequest{})
	if err == nil {
		_, err = bad.Recv()
	}
	refused(t, err, codes.Unauthenticated, "TOKEN_INVALID", "")
	if _, err := s.watchWith(t, ticket)(); err != nil {
		t.Errorf("it was used up: %v", err)
	}
}

// Of all who come with a ticket at the same time, one watches.
func TestTicket_AtOnce(t *testing.T) {
	t.Parallel()
	s := running(t)
	ticket := s.member(t, "jeanne").ticket(t)
	var opened atomic.Int32
	var group sync.WaitGroup
	for range 8 {
		next := s.watchWith(t, ticket)
		group.Go(func() {
			if _, err := next(); err == nil {
				opened.Add(1)
			}
		})
	}
	group.Wait()
	if opened.Load() != 1 {
		t.Errorf("%d watches were opened", opened.Load())
	}
}

// Who asks for more tickets than they may have loses the oldest, and nobody else theirs.
func TestTicket_OldestMakesRoom(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne := s.member(t, "jeanne")
	others := s.member(t, "paul").ticket(t)
	var tickets []string
	for range 16 + 1 {
		tickets = append(tickets, jeanne.ticket(t))
	}
	if n := s.count(t, `SELECT count(*) FROM watch_ticket WHERE subject = 'member:jeanne'`); n != 16 {
		t.Errorf("%d tickets are kept", n)
	}
	invalid(t, "the oldest", s.watchWith(t, tickets[0]))
	for name, ticket := range map[string]string{"the second": tickets[1], "the last": tickets[16], "another's": others} {
		if _, err := s.watchWith(t, ticket)(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := jeanne.messaging.EraseMyData(jeanne.call(t), &messagingpb.EraseMyDataRequest{Confirm: true}); err != nil {
		t.Fatal(err)
	}
	if n := s.count(t, `SELECT count(*) FROM watch_ticket WHERE subject = 'member:jeanne'`); n != 0 {
		t.Errorf("%d tickets outlive the erasure", n)
	}
}
