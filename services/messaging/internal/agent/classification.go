package agent

import (
	"context"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/change"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/lifecycle"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/outbox"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/taxonomy"
)

// TransferConversation gives a conversation to another queue and drops the claim. What was
// announced to the member, the days until an answer, stays as it was.
func (s *Server) TransferConversation(ctx context.Context, req *messagingpb.TransferConversationRequest) (*messagingpb.TransferConversationResponse, error) {
	version, err := s.Taxonomy.Current(ctx)
	if err != nil {
		return nil, err
	}
	queue := taxonomy.Queue(version, req.GetQueue())
	if queue == nil {
		return nil, taxonomy.UnknownQueue(version, req.GetQueue())
	}
	row, err := s.change(ctx, req.GetId(), func(id *auth.Identity, row conversation.Row) (*change.Change, error) {
		if err := mayAct(&row, id); err != nil {
			return nil, err
		}
		if row.Queue == queue.GetCode() {
			return nil, nil //nolint:nilnil // it is there already
		}
		todo := &change.Change{
			Action: lifecycle.Transfer,
			Set:    append(dropClaim(), keepFirstSelection, `queue = @queue`, `queue_label = @label`),
			Args:   pgx.NamedArgs{"queue": queue.GetCode(), "label": queue.GetLabel()},
			Event:  func(after conversation.Row) (outbox.Event, error) { return conversation.Recategorised(ctx, after) },
		}
		todo.Set = append(todo.Set, `status = @status`)
		todo.Args["status"] = released(&row)
		return todo, nil
	})
	if err != nil {
		return nil, err
	}
	return &messagingpb.TransferConversationResponse{Conversation: s.forAgent(&row, auth.FromContext(ctx))}, nil
}

// RecategoriseConversation corrects the selection, for the profile the member wrote under.
func (s *Server) RecategoriseConversation(ctx context.Context, req *messagingpb.RecategoriseConversationRequest) (*messagingpb.RecategoriseConversationResponse, error) {
	version, err := s.Taxonomy.Current(ctx)
	if err != nil {
		return nil, err
	}
	row, err := s.change(ctx, req.GetId(), func(id *auth.Identity, row conversation.Row) (*change.Change, error) {
		if err := mayAct(&row, id); err != nil {
			return nil, err
		}
		chosen, err := taxonomy.Choose(version, &messagingpb.SubmitMessageRequest{
			Audience: conversation.Audience(row.Audience), Theme: req.GetTheme(), Topic: req.GetTopic(), Reason: req.GetReason(),
		})
		if err != nil {
			return nil, err
		}
		if row.Theme == chosen.Theme.GetCode() && row.Topic == chosen.Topic.GetCode() && row.Reason == chosen.Reason.GetCode() {
			return nil, nil //nolint:nilnil // it is right already
		}
		return &change.Change{
			Action: lifecycle.Recategorise,
			Set: []string{
				keepFirstSelection, `taxonomy_version = @taxonomyVersion`, `theme = @theme`, `theme_label = @themeLabel`,
				`topic = @topic`, `topic_label = @topicLabel`, `reason = @reason`, `reason_label = @reasonLabel`,
				`retention_years = @years`,
			},
			Args: pgx.NamedArgs{
				"taxonomyVersion": chosen.Version, "theme": chosen.Theme.GetCode(), "themeLabel": chosen.Theme.GetLabel(),
				"topic": chosen.Topic.GetCode(), "topicLabel": chosen.Topic.GetLabel(),
				"reason": chosen.Reason.GetCode(), "reasonLabel": chosen.Reason.GetLabel(),
				"years": chosen.Years,
			},
			Event: func(after conversation.Row) (outbox.Event, error) { return conversation.Recategorised(ctx, after) },
		}, nil
	})
	if err != nil {
		return nil, err
	}
	return &messagingpb.RecategoriseConversationResponse{Conversation: s.forAgent(&row, auth.FromContext(ctx))}, nil
}

// ReopenConversation opens an answered or closed conversation again.
func (s *Server) ReopenConversation(ctx context.Context, req *messagingpb.ReopenConversationRequest) (*messagingpb.ReopenConversationResponse, error) {
	row, err := s.change(ctx, req.GetId(), func(id *auth.Identity, row conversation.Row) (*change.Change, error) {
		if row.ClaimHeld && !claimedBy(&row, id) {
			return nil, heldBy(&row)
		}
		if !lifecycle.Reopenable(row.Status) {
			return nil, nil //nolint:nilnil // it is open
		}
		if row.ErasedAt != nil {
			return nil, conversation.ErrErased
		}
		return &change.Change{
			Action: lifecycle.Reopen,
			Set:    []string{`status = @status`},
			Args:   pgx.NamedArgs{"status": int16(messagingpb.Status_REOPENED)},
			Event:  func(after conversation.Row) (outbox.Event, error) { return conversation.Reopened(ctx, after) },
		}, nil
	})
	if err != nil {
		return nil, err
	}
	return &messagingpb.ReopenConversationResponse{Conversation: s.forAgent(&row, auth.FromContext(ctx))}, nil
}

// keepFirstSelection sets aside what the member sent, the first time it is
// corrected. The right-hand side sees the row as it was.
const keepFirstSelection = `first_selection = coalesce(first_selection, jsonb_build_object(
	'version', taxonomy_version, 'theme', theme, 'themeLabel', theme_label, 'topic', topic, 'topicLabel', topic_label,
	'reason', reason, 'reasonLabel', reason_label, 'queue', queue, 'queueLabel', queue_label))`

// audienceFor is the audience of a conversation that an agent may see; [pgx.ErrNoRows]
// for another.
func (s *Server) audienceFor(ctx context.Context, sc conversation.Scope, id uuid.UUID) (audience int16, err error) {
	args := sc.Args()
	args["id"] = id
	return postgres.One[int16](ctx, s.DB, "reading an audience", `SELECT audience FROM conversation WHERE id = @id AND `+conversation.WithinScope, args)
}
