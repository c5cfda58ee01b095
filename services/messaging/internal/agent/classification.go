package agent

import (
	"context"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
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
	var badQueue error
	queue := taxonomy.Queue(version, req.GetQueue())
	if queue == nil {
		badQueue = taxonomy.UnknownQueue(version, req.GetQueue())
	}
	last, badLast := lastMessage(req.GetLastMessageId())
	note, badNote := noteOf(req.GetNote())
	if err := rpc.JoinFaults(badQueue, badLast, badNote); err != nil {
		return nil, err
	}
	stored := false
	after, err := s.change(ctx, req.GetId(), func(id *auth.Identity, row *change.Current) (*change.Change, error) {
		if err := mayAct(&row.Row, id); err != nil {
			return nil, err
		}
		if row.Queue == queue.GetCode() {
			return nil, nil //nolint:nilnil // it is there already
		}
		if err := seen(row, last); err != nil {
			return nil, err
		}
		note, err := s.noteFor(&row.Row, id, note)
		stored = true
		return &change.Change{
			Actions: []lifecycle.Action{lifecycle.Transfer},
			Target:  queue.GetCode(),
			Note:    note,
			Set:     append(dropClaim(), keepFirstSelection, `queue = @queue`, `queue_label = @label`, `status = @status`),
			Args:    pgx.NamedArgs{"queue": queue.GetCode(), "label": queue.GetLabel(), "status": released(&row.Row)},
			Events: []func(conversation.Row) (outbox.Event, error){
				func(after conversation.Row) (outbox.Event, error) { return conversation.Recategorised(ctx, after) },
			},
		}, err
	})
	if err == nil && !stored {
		err = s.keepNote(ctx, &after.Row, note)
	}
	if err != nil {
		return nil, s.withUnread(ctx, err, req.GetId(), last)
	}
	return &messagingpb.TransferConversationResponse{Conversation: s.forAgent(&after.Row, after.LastMessageID, auth.FromContext(ctx))}, nil
}

// RecategoriseConversation corrects the selection, for the profile the member wrote under.
func (s *Server) RecategoriseConversation(ctx context.Context, req *messagingpb.RecategoriseConversationRequest) (*messagingpb.RecategoriseConversationResponse, error) {
	version, err := s.Taxonomy.Current(ctx)
	if err != nil {
		return nil, err
	}
	after, err := s.change(ctx, req.GetId(), func(id *auth.Identity, row *change.Current) (*change.Change, error) {
		if err := mayAct(&row.Row, id); err != nil {
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
			Actions: []lifecycle.Action{lifecycle.Recategorise},
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
			Events: []func(conversation.Row) (outbox.Event, error){
				func(after conversation.Row) (outbox.Event, error) { return conversation.Recategorised(ctx, after) },
			},
		}, nil
	})
	if err != nil {
		return nil, err
	}
	return &messagingpb.RecategoriseConversationResponse{Conversation: s.forAgent(&after.Row, after.LastMessageID, auth.FromContext(ctx))}, nil
}

// ReopenConversation opens an answered or closed conversation again.
func (s *Server) ReopenConversation(ctx context.Context, req *messagingpb.ReopenConversationRequest) (*messagingpb.ReopenConversationResponse, error) {
	after, err := s.change(ctx, req.GetId(), func(id *auth.Identity, row *change.Current) (*change.Change, error) {
		if row.ClaimHeld && !claimedBy(&row.Row, id) {
			return nil, heldBy(&row.Row)
		}
		if !lifecycle.Reopenable(row.Status) {
			return nil, nil //nolint:nilnil // it is open
		}
		if row.ErasedAt != nil {
			return nil, conversation.ErrErased
		}
		return &change.Change{
			Actions: []lifecycle.Action{lifecycle.Reopen},
			Set:     []string{`status = @status`, lifecycle.WaitsAgain},
			Args:    pgx.NamedArgs{"status": int16(messagingpb.Status_REOPENED)},
			Events: []func(conversation.Row) (outbox.Event, error){
				func(after conversation.Row) (outbox.Event, error) { return conversation.Reopened(ctx, after) },
			},
		}, nil
	})
	if err != nil {
		return nil, err
	}
	return &messagingpb.ReopenConversationResponse{Conversation: s.forAgent(&after.Row, after.LastMessageID, auth.FromContext(ctx))}, nil
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
