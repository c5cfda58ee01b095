package desk

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/grpc/metadata"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/web/internal/render"
)

// ErrNoAct is an act that there is not.
var ErrNoAct = errors.New("no such act")

// Ask asks the gateway to do with a conversation what was sent. What names the page's last
// message is refused if somebody has written since.
func (t Typed) Ask(ctx context.Context, agents messagingpb.AgentServiceClient, id string) error {
	keyed := metadata.AppendToOutgoingContext(ctx, "idempotency-key", t.Key)
	var err error
	switch t.Act {
	case Claim:
		_, err = agents.ClaimConversation(ctx, &messagingpb.ClaimConversationRequest{Id: id})
	case Release:
		_, err = agents.ReleaseConversation(ctx, &messagingpb.ReleaseConversationRequest{Id: id})
	case Assign:
		_, err = agents.AssignConversation(ctx, &messagingpb.AssignConversationRequest{Id: id, AgentId: t.Agent, Note: t.Note})
	case TakeOver:
		_, err = agents.TakeOverConversation(ctx, &messagingpb.TakeOverConversationRequest{Id: id, Note: t.Note})
	case Transfer:
		_, err = agents.TransferConversation(ctx, &messagingpb.TransferConversationRequest{Id: id, Queue: t.Queue, LastMessageId: t.Last, Note: t.Note})
	case Recategorise:
		_, err = agents.RecategoriseConversation(ctx, &messagingpb.RecategoriseConversationRequest{Id: id, Theme: t.Selection[0], Topic: t.Selection[1], Reason: t.Selection[2]})
	case Close:
		var sentence string
		if t.Explained {
			sentence = strings.TrimSpace(t.Text) // white space alone is none
		}
		_, err = agents.CloseConversation(ctx, &messagingpb.CloseConversationRequest{Id: id, LastMessageId: t.Last, Text: sentence})
	case Reopen:
		_, err = agents.ReopenConversation(ctx, &messagingpb.ReopenConversationRequest{Id: id})
	case Reply:
		_, err = agents.PostReply(keyed, &messagingpb.PostReplyRequest{Id: id, Text: t.Text, Final: t.Final, LastMessageId: t.Last, Additional: t.Additional})
	case Note:
		_, err = agents.AddNote(keyed, &messagingpb.AddNoteRequest{Id: id, Text: t.Note})
	default:
		return ErrNoAct
	}
	return err
}

// Done says that it was done.
func (t Typed) Done(p *render.Pages) string {
	switch t.Act {
	case Claim:
		return p.Tr("Vous avez pris la conversation en charge.", "You have claimed this conversation.")
	case Release:
		return p.Tr("La conversation est rendue à la file.", "The conversation is back in the queue.")
	case Assign:
		return p.Tr("La conversation est confiée à votre collègue.", "The conversation was assigned to your colleague.")
	case TakeOver:
		return p.Tr("Vous avez repris la conversation.", "You have taken over this conversation.")
	case Transfer:
		return p.Tr("La conversation est transférée.", "The conversation was transferred.")
	case Recategorise:
		return p.Tr("La conversation est reclassée.", "The conversation was reclassified.")
	case Close:
		return p.Tr("La conversation est close.", "The conversation is closed.")
	case Reopen:
		return p.Tr("La conversation est rouverte.", "The conversation has been reopened.")
	case Reply:
		return p.Tr("La réponse est envoyée.", "The reply was sent.") // the page says whether notifications reach the member
	case Note:
		return p.Tr("La note est ajoutée.", "The note was added.")
	}
	return ""
}
