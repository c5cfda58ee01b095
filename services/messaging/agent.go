package messaging

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/report"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/lifecycle"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/outbox"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/text"
)

// agentServer is AgentService. It is a type of its own because both services
// have a GetConversation.
type agentServer struct {
	messagingpb.UnimplementedAgentServiceServer
	*server
}

// scopeOf is what the calling agent may see.
func scopeOf(id *auth.Identity) conversation.Scope {
	return conversation.Scope{Caisse: id.Caisse, Queues: id.Queues, AllQueues: slices.Contains(id.Queues, auth.AllQueues)}
}

// ListConversations returns what waits for the body, oldest first.
func (s *agentServer) ListConversations(ctx context.Context, req *messagingpb.AgentServiceListConversationsRequest) (*messagingpb.AgentServiceListConversationsResponse, error) {
	id := auth.FromContext(ctx)
	after, err := pageOf(ctx, req)
	if err != nil {
		return nil, err
	}
	size := pageSize(req.GetPageSize())
	filter := queueFilter{queue: req.GetQueue(), theme: req.GetTheme(), topic: req.GetTopic(), after: after, limit: size + 1}
	for _, status := range req.GetStatuses() {
		filter.statuses = append(filter.statuses, int16(status)) //nolint:gosec // an enum of eight
	}
	rows, err := s.waiting(ctx, scopeOf(id), filter)
	if err != nil {
		return nil, statusOf(err)
	}
	resp := &messagingpb.AgentServiceListConversationsResponse{}
	if len(rows) > size {
		rows = rows[:size]
		resp.NextPageToken = nextPage(ctx, req, rows[size-1].CreatedAt, rows[size-1].ID)
	}
	for i := range rows {
		resp.Conversations = append(resp.Conversations, forAgent(&rows[i], id))
	}
	return resp, nil
}

// waiting reads what an index gives like any other row, and the rest among the lists.
// It is shared with nobody: an agent who has just taken a conversation in charge must
// find it so.
func (s *agentServer) waiting(ctx context.Context, sc conversation.Scope, filter queueFilter) ([]conversation.Row, error) {
	if filter.queue == "" && len(sc.Queues) == 1 && !sc.AllQueues {
		filter.queue = sc.Queues[0]
	}
	if filter.light() {
		return s.store.waiting(ctx, sc, filter)
	}
	return report.Read(ctx, s.reports.lists, alone(ctx), func(ctx context.Context) ([]conversation.Row, error) {
		return s.reports.store.waiting(ctx, sc, filter)
	})
}

// GetConversation returns a conversation with its messages and writes down who
// read it.
func (s *agentServer) GetConversation(ctx context.Context, req *messagingpb.AgentServiceGetConversationRequest) (*messagingpb.AgentServiceGetConversationResponse, error) {
	id := auth.FromContext(ctx)
	found, err := s.store.readForAgent(ctx, scopeOf(id), id.Subject, uuid.MustParse(req.GetId()))
	if err != nil {
		return nil, statusOf(err)
	}
	full, err := s.inFull(ctx, found, id)
	if err != nil {
		return nil, err
	}
	return &messagingpb.AgentServiceGetConversationResponse{Conversation: full}, nil
}

// ClaimConversation takes a conversation in charge, or renews the caller's lease on it.
func (s *agentServer) ClaimConversation(ctx context.Context, req *messagingpb.ClaimConversationRequest) (*messagingpb.ClaimConversationResponse, error) {
	row, err := s.change(ctx, req.GetId(), func(id *auth.Identity, row conversation.Row) (*change, error) {
		if err := mayAct(&row, id); err != nil {
			return nil, err
		}
		todo := &change{
			action: lifecycle.Claim,
			set:    []string{`claimed_by = @agent`, `claimed_name = @name`, `claim_expires = now() + @lease`},
			args:   pgx.NamedArgs{"agent": id.Subject, "name": id.Name, "lease": s.claimLease},
		}
		if row.ClaimHeld { // by the caller: a renewal is no event
			return todo, nil
		}
		if after := lifecycle.Claimed(row.Status); int16(after) != row.Status { //nolint:gosec // an enum of eight
			todo.set = append(todo.set, `status = @status`)
			todo.args["status"] = int16(after) //nolint:gosec // an enum of eight
		}
		todo.event = func(after conversation.Row) (outbox.Event, error) { return conversation.Claimed(ctx, after) }
		return todo, nil
	})
	if err != nil {
		return nil, err
	}
	return &messagingpb.ClaimConversationResponse{Conversation: forAgent(&row, auth.FromContext(ctx))}, nil
}

// ReleaseConversation gives a claimed conversation back.
func (s *agentServer) ReleaseConversation(ctx context.Context, req *messagingpb.ReleaseConversationRequest) (*messagingpb.ReleaseConversationResponse, error) {
	row, err := s.change(ctx, req.GetId(), func(id *auth.Identity, row conversation.Row) (*change, error) {
		if !row.ClaimHeld {
			return nil, errNotClaimed
		}
		if !claimedBy(&row, id) {
			return nil, heldBy(&row)
		}
		todo := &change{action: lifecycle.Release, set: dropClaim()}
		todo.set = append(todo.set, `status = @status`)
		todo.args = pgx.NamedArgs{"status": released(&row)}
		return todo, nil
	})
	if err != nil {
		return nil, err
	}
	return &messagingpb.ReleaseConversationResponse{Conversation: forAgent(&row, auth.FromContext(ctx))}, nil
}

// CloseConversation ends a conversation.
func (s *agentServer) CloseConversation(ctx context.Context, req *messagingpb.CloseConversationRequest) (*messagingpb.CloseConversationResponse, error) {
	row, err := s.change(ctx, req.GetId(), func(id *auth.Identity, row conversation.Row) (*change, error) {
		if row.Status == int16(messagingpb.Status_CLOSED) {
			return nil, nil //nolint:nilnil // nothing to do
		}
		if err := mayAct(&row, id); err != nil {
			return nil, err
		}
		return &change{
			action: lifecycle.Close,
			set:    append(dropClaim(), `status = @status`),
			args:   pgx.NamedArgs{"status": int16(messagingpb.Status_CLOSED)},
			event:  func(after conversation.Row) (outbox.Event, error) { return conversation.Closed(ctx, after) },
		}, nil
	})
	if err != nil {
		return nil, err
	}
	return &messagingpb.CloseConversationResponse{Conversation: forAgent(&row, auth.FromContext(ctx))}, nil
}

// PostReply answers the member: the guide's step 7.
func (s *agentServer) PostReply(ctx context.Context, req *messagingpb.PostReplyRequest) (*messagingpb.PostReplyResponse, error) {
	id := auth.FromContext(ctx)
	key := rpc.IdempotencyKey(ctx)
	written, err := text.OfAgent.Normalise(req.GetText())
	if err != nil {
		return nil, err
	}
	after, err := s.reply(ctx, id, req, key, written)
	if err != nil {
		return nil, statusOf(err)
	}
	full, err := s.inFull(ctx, after, id)
	if err != nil {
		return nil, err
	}
	return &messagingpb.PostReplyResponse{Conversation: full}, nil
}

// reply stores a reply unless the same is stored under this key, and reads the conversation
// in the same transaction: five round trips, one row of the audit.
func (s *agentServer) reply(ctx context.Context, id *auth.Identity, req *messagingpb.PostReplyRequest, key uuid.UUID, written text.Text) (conversation.Full, error) {
	after, err := s.changes.Submit(ctx, request{
		scope: scopeOf(id), agent: id.Subject, id: uuid.MustParse(req.GetId()), key: key, full: true,
		decide: func(row current) (*change, error) {
			if row.Replied {
				// That comes before any claim: it gets its own answer again.
				return nil, errReplied
			}
			if err := unchanged(ctx, &row.Row); err != nil {
				return nil, err
			}
			if err := mayAct(&row.Row, id); err != nil {
				return nil, err
			}
			return s.replyChange(ctx, id, &row.Row, req.GetFinal(), key, written, row.SMSOnReply)
		},
	})
	if errors.Is(err, errReplied) || postgres.IsDuplicate(err) {
		return s.replayReply(ctx, id, req, key, written)
	}
	return after, err
}

// errReplied: a reply is stored under the key.
var errReplied = errors.New("replied already")

// replayReply returns the conversation when this very reply is stored under the key, and
// refuses a key that was used for something else.
func (s *agentServer) replayReply(ctx context.Context, id *auth.Identity, req *messagingpb.PostReplyRequest, key uuid.UUID, written text.Text) (found conversation.Full, err error) {
	stored, err := s.store.replied(ctx, id.Subject, key)
	if err != nil {
		return found, err
	}
	if stored.ConversationID.String() != req.GetId() || stored.Final != req.GetFinal() {
		return found, errKeyReused
	}
	found, err = s.store.readForAgent(ctx, scopeOf(id), id.Subject, stored.ConversationID)
	if err != nil {
		return found, err
	}
	if found.ErasedAt != nil {
		return found, errErased
	}
	dataKey, err := s.vault.Key(found.ID, found.DataKey)
	if err != nil {
		return found, err
	}
	body, err := dataKey.OpenMessage(stored.ID, stored.Author, stored.Body)
	switch {
	case err != nil:
		return found, err
	case body != written.Body:
		return found, errKeyReused
	}
	rpc.Replayed(ctx)
	return found, nil
}

// replyChange seals a reply and says what it does to the conversation: it is
// answered in whole or in part, unread, and no longer hidden.
func (s *agentServer) replyChange(ctx context.Context, id *auth.Identity, row *conversation.Row, final bool, key uuid.UUID, written text.Text, sms bool) (*change, error) {
	message, err := uuid.NewV7()
	if err != nil {
		return nil, err
	}
	dataKey, err := s.vault.Key(row.ID, row.DataKey)
	if err != nil {
		return nil, err
	}
	sealed, err := dataKey.SealMessage(message, int16(messagingpb.Author_AGENT), written.Body)
	if err != nil {
		return nil, err
	}
	answer := conversation.Message{ID: message, ConversationID: row.ID, Author: int16(messagingpb.Author_AGENT), AgentID: &id.Subject, Final: final, Body: sealed}
	todo := &change{
		action: lifecycle.Reply,
		reply:  &reply{answer, key, written.Chars},
		set: []string{
			`status = @status`, `last_reply_id = @reply`, `hidden = false`,
			// This one is stored by now; an earlier one may be of a version that did not note it.
			`first_reply_at = coalesce(first_reply_at, (SELECT min(created_at) FROM message WHERE conversation_id = conversation.id AND author = 2))`,
		},
		args: pgx.NamedArgs{"status": int16(lifecycle.Replied(final)), "reply": message}, //nolint:gosec // an enum of eight
		event: func(after conversation.Row) (outbox.Event, error) {
			return conversation.Replied(ctx, after, answer, sms)
		},
	}
	if final {
		todo.set = append(todo.set, dropClaim()...)
	}
	return todo, nil
}

// change runs one change of a conversation within the caller's scope.
func (s *agentServer) change(ctx context.Context, id string, decide func(*auth.Identity, conversation.Row) (*change, error)) (conversation.Row, error) {
	agent := auth.FromContext(ctx)
	after, err := s.changes.Submit(ctx, request{
		scope: scopeOf(agent), agent: agent.Subject, id: uuid.MustParse(id),
		decide: func(row current) (*change, error) {
			if err := unchanged(ctx, &row.Row); err != nil {
				return nil, err
			}
			return decide(agent, row.Row)
		},
	})
	if err == nil {
		tagConversation(ctx, &after.Row, nil)
	}
	return after.Row, statusOf(err)
}

// mayAct refuses what is erased, closed or in another agent's hands.
func mayAct(row *conversation.Row, id *auth.Identity) error {
	if row.ErasedAt != nil {
		return errErased
	}
	if row.Status == int16(messagingpb.Status_CLOSED) {
		return errConversationClosed
	}
	if row.ClaimHeld && !claimedBy(row, id) {
		return heldBy(row)
	}
	return nil
}

func claimedBy(row *conversation.Row, id *auth.Identity) bool {
	return row.ClaimedBy != nil && *row.ClaimedBy == id.Subject
}

// heldBy tells who has it and until when, so that a colleague can be asked.
func heldBy(row *conversation.Row) error {
	return rpc.Refuse(codes.FailedPrecondition, errorpb.ErrorReason_CLAIM_HELD, "another agent holds the claim on this conversation",
		"agent", *row.ClaimedName, "until", row.ClaimExpires.UTC().Format(time.RFC3339))
}

// released is the status of a conversation that nobody holds any more.
func released(row *conversation.Row) int16 {
	return int16(lifecycle.Released(row.Status, row.LastReplyID != nil)) //nolint:gosec // an enum of eight
}

func dropClaim() []string {
	return []string{`claimed_by = NULL`, `claimed_name = NULL`, `claim_expires = NULL`}
}

// forAgent is a row as an agent sees it: with who has it in hand.
func forAgent(row *conversation.Row, id *auth.Identity) *messagingpb.Conversation {
	conversation := conversation.Proto(row)
	if row.ClaimHeld {
		conversation.Claim = &messagingpb.ClaimInfo{
			Agent: *row.ClaimedName, Mine: claimedBy(row, id), ExpireTime: timestamppb.New(*row.ClaimExpires),
		}
	}
	return conversation
}

// inFull is a conversation with all that was written in it, as an agent sees it, and tells
// its tag.
func (s *agentServer) inFull(ctx context.Context, found conversation.Full, id *auth.Identity) (*messagingpb.Conversation, error) {
	full, err := s.withMessages(&found.Row, found.Messages)
	if err != nil {
		return nil, err
	}
	full.Claim = forAgent(&found.Row, id).GetClaim()
	if len(found.DataKey) > 0 && len(found.Notes) > 0 { // none opens once its key is gone
		if full.Notes, err = s.openNotes(found.ID, found.DataKey, found.Notes); err != nil {
			return nil, statusOf(err)
		}
	}
	tagConversation(ctx, &found.Row, full)
	return full, nil
}
