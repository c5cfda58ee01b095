package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc/codes"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/change"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/lifecycle"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/outbox"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/text"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/vault"
)

var errAnswered = rpc.Refuse(codes.FailedPrecondition, errorpb.ErrorReason_ALREADY_ANSWERED, "the member's last message has a final answer; say that this is an additional one if that is meant")

// PostReply answers the member: the guide's step 7.
func (s *Server) PostReply(ctx context.Context, req *messagingpb.PostReplyRequest) (*messagingpb.PostReplyResponse, error) {
	id := auth.FromContext(ctx)
	key := rpc.IdempotencyKey(ctx)
	last, badLast := lastMessage(req.GetLastMessageId())
	written, badText := text.OfAgent.Normalise(req.GetText())
	if err := rpc.JoinFaults(badText, badLast); err != nil {
		return nil, err
	}
	s.see(ctx, id)
	reply, after, err := s.reply(ctx, id, req, key, last, written)
	if err != nil {
		return nil, s.withUnread(ctx, err, req.GetId(), last)
	}
	full, err := s.inFull(ctx, after, id)
	if err != nil {
		return nil, err
	}
	return &messagingpb.PostReplyResponse{Conversation: full, MessageId: reply.String()}, nil
}

// reply stores a reply unless the same is stored under this key, and reads the conversation
// in the same transaction: five round trips.
func (s *Server) reply(ctx context.Context, id *auth.Identity, req *messagingpb.PostReplyRequest, key, last uuid.UUID, written text.Text) (reply uuid.UUID, after conversation.Full, err error) {
	after, err = s.Changes.Submit(ctx, change.Request{
		Scope: conversation.ScopeOf(id), Agent: id, ID: uuid.MustParse(req.GetId()), Key: key, Full: true,
		Decide: func(row change.Current) (*change.Change, error) {
			if row.Replied {
				// Checked before all else: a retry gets its first answer again.
				return nil, change.ErrReplied
			}
			if err := mayReply(ctx, id, req, &row, last); err != nil {
				return nil, err
			}
			answer, err := s.written(id, &row.Row, key, req.GetFinal(), written)
			if err != nil {
				return nil, err
			}
			reply = answer.Row.ID
			return s.replyChange(ctx, id, &row.Row, answer), nil
		},
	})
	if errors.Is(err, change.ErrReplied) || postgres.IsDuplicate(err) {
		return s.replayReply(ctx, id, req, key, written)
	}
	if errors.Is(err, pgx.ErrNoRows) { // perhaps it went elsewhere after the reply
		if reply, after, again := s.replayReply(ctx, id, req, key, written); !errors.Is(again, pgx.ErrNoRows) {
			return reply, after, again
		}
	}
	return reply, after, err
}

// mayReply refuses a reply to what is not as its author has seen it, or in other hands, or
// answered already.
func mayReply(ctx context.Context, id *auth.Identity, req *messagingpb.PostReplyRequest, row *change.Current, last uuid.UUID) error {
	if err := conversation.Unchanged(ctx, &row.Row); err != nil {
		return err
	}
	if err := mayAct(&row.Row, id); err != nil {
		return err
	}
	if err := seen(row, last); err != nil {
		return err
	}
	if req.GetFinal() && row.Standing.Answered && !req.GetAdditional() {
		return errAnswered
	}
	return nil
}

// replayReply returns the conversation when this very reply is stored under the key, and
// refuses a key that was used for something else. [pgx.ErrNoRows]: nothing is.
func (s *Server) replayReply(ctx context.Context, id *auth.Identity, req *messagingpb.PostReplyRequest, key uuid.UUID, written text.Text) (reply uuid.UUID, found conversation.Full, err error) {
	stored, err := s.replied(ctx, id.Subject, key)
	if err != nil {
		return reply, found, err
	}
	if stored.ConversationID.String() != req.GetId() || stored.Final != req.GetFinal() {
		return reply, found, conversation.ErrKeyReused
	}
	found, err = s.readForAgent(ctx, id, stored.ConversationID)
	if errors.Is(err, pgx.ErrNoRows) {
		found, err = s.readOwn(ctx, id, &stored)
	}
	if err != nil {
		return reply, found, err
	}
	texts, err := conversation.TextsOf(ctx, s.Vault, &found.Row)
	if errors.Is(err, vault.ErrErased) {
		// Nobody can compare the text any more; the reply is stored all the same.
		rpc.Replayed(ctx)
		return stored.ID, found, nil
	}
	if err != nil {
		return reply, found, err
	}
	body, err := texts.OpenMessage(stored.ID, stored.Author, stored.Body)
	switch {
	case err != nil:
		return reply, found, err
	case body != written.Body:
		return reply, found, conversation.ErrKeyReused
	}
	rpc.Replayed(ctx)
	return stored.ID, found, nil
}

// readOwn reads a conversation that an agent has answered and does not see any more, as it was
// after their answer, and records that in the audit.
func (s *Server) readOwn(ctx context.Context, id *auth.Identity, answer *conversation.Message) (found conversation.Full, err error) {
	err = pgx.BeginFunc(ctx, s.DB, func(tx pgx.Tx) error {
		found.Row, err = postgres.One[conversation.Row](ctx, tx, "reading a conversation",
			`SELECT `+conversation.Columns+` FROM conversation WHERE id = $1`, answer.ConversationID)
		if err != nil {
			return err
		}
		batch := &pgx.Batch{}
		conversation.QueueRead(batch, answer.ConversationID, &found)
		conversation.QueueAudit(batch, []conversation.Audited{conversation.By(id, lifecycle.Read, &found.Row)})
		if err := tx.SendBatch(ctx, batch).Close(); err != nil {
			return fmt.Errorf("reading what was written: %w", err)
		}
		return nil
	})
	if err != nil {
		return found, err
	}
	upTo := slices.IndexFunc(found.Messages, func(m conversation.Message) bool { return m.ID == answer.ID })
	found.Messages, found.Notes = found.Messages[:upTo+1], nil
	found.Standing = conversation.StandingOf(found.Messages)
	found.Status, found.ClaimHeld, found.HeldAt = int16(lifecycle.Replied(answer.Final)), false, nil //nolint:gosec // an enum of eight
	return found, nil
}

// written seals what an agent writes to the member.
func (s *Server) written(id *auth.Identity, row *conversation.Row, key uuid.UUID, final bool, written text.Text) (*change.Reply, error) {
	message, err := uuid.NewV7()
	if err != nil {
		return nil, err
	}
	texts, err := conversation.HeldTextsOf(s.Vault, row)
	if err != nil {
		return nil, err
	}
	sealed, err := texts.SealMessage(message, int16(messagingpb.Author_AGENT), written.Body)
	if err != nil {
		return nil, err
	}
	name, machine := id.Name, id.Realm == auth.RealmMachine
	if machine {
		name = conversation.AgentName(id)
	}
	return &change.Reply{Key: key, Chars: written.Chars, Row: conversation.Message{
		ID: message, ConversationID: row.ID, Author: int16(messagingpb.Author_AGENT), Final: final, Body: sealed,
		AgentID: &id.Subject, AgentName: &name, Machine: &machine, Service: &row.QueueLabel,
	}}, nil
}

// replied is what something that an agent writes to the member does to a conversation: it is
// unread, and no longer hidden.
func replied(ctx context.Context, answer *change.Reply, closing bool) *change.Change {
	return &change.Change{
		Actions: []lifecycle.Action{lifecycle.Reply},
		Reply:   answer,
		Set: []string{
			`last_reply_id = @reply`, `hidden = false`,
			// This reply is stored by now; an older version may have stored an earlier one without setting the column.
			`first_reply_at = coalesce(first_reply_at, (SELECT min(created_at) FROM message WHERE conversation_id = conversation.id AND author = 2))`,
		},
		Args: pgx.NamedArgs{"reply": answer.Row.ID},
		Events: []func(conversation.Row) (outbox.Event, error){
			func(after conversation.Row) (outbox.Event, error) {
				return conversation.Replied(ctx, after, answer.Row, closing)
			},
		},
	}
}

// replyChange is what a reply does to a conversation: it is answered in whole, and in nobody's
// hands any more, or in part, and in those of its author.
func (s *Server) replyChange(ctx context.Context, id *auth.Identity, row *conversation.Row, answer *change.Reply) *change.Change {
	todo := replied(ctx, answer, false)
	if answer.Row.Final {
		todo.Set = append(todo.Set, dropClaim()...)
	} else if !row.ClaimHeld {
		claim := s.giveTo(ctx, row, id.Subject, conversation.AgentName(id), lifecycle.Claim)
		todo.Set = append(todo.Set, `claimed_by = @agent`, `claimed_name = @name`, `claim_expires = now() + @lease`)
		maps.Copy(todo.Args, claim.Args)
		todo.Actions = append(claim.Actions, todo.Actions...)
		todo.Events = append(claim.Events, todo.Events...)
	}
	todo.Set = append(todo.Set, `status = @status`)
	todo.Args["status"] = int16(lifecycle.Replied(answer.Row.Final)) //nolint:gosec // an enum of eight
	return todo
}

// replied returns the reply stored under an agent's idempotency key.
func (s *Server) replied(ctx context.Context, agent string, key uuid.UUID) (conversation.Message, error) {
	return postgres.One[conversation.Message](ctx, s.DB, "reading a message", `SELECT `+conversation.MessageColumns+` FROM message WHERE agent_id = $1 AND idempotency_key = $2`, agent, key)
}
