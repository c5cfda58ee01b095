package console

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/web/internal/desk"
	"github.com/ma-messagerie/messagerie/web/internal/visit"
)

// begun is what an agent has begun to write in a conversation, and its tag; nothing where there
// is no draft, or nobody can tell.
func (v *visitor) begun(conversation string) (draft *messagingpb.AgentDraft, tag string) {
	var header metadata.MD
	resp, err := v.agents.GetDraft(v.Ctx, &messagingpb.AgentServiceGetDraftRequest{ConversationId: conversation}, grpc.Header(&header))
	if err != nil {
		return nil, ""
	}
	draft = resp.GetDraft()
	draft.Text, draft.Note = v.Cleaned(draft.GetText()), v.Cleaned(draft.GetNote())
	return draft, visit.TagOf(header)
}

// leave keeps what an act has not taken along as the draft, and deletes the draft where there is
// nothing else. What another tab has written meanwhile is not replaced.
func (v *visitor) leave(conversation string, typed desk.Typed) error {
	text, note := typed.Left()
	switch {
	case text != "" || note != "":
		_, err := v.saveDraft(conversation, typed.Tag, text, note)
		return err
	case typed.Tag != "":
		// One that stays is not shown once it is sent, and deleted when it is old.
		_, _ = v.agents.DeleteDraft(v.IfSeen(typed.Tag), &messagingpb.AgentServiceDeleteDraftRequest{ConversationId: conversation})
	}
	return nil
}

// saveDraft stores a draft if it is still what the page has seen, and returns its new tag.
func (v *visitor) saveDraft(conversation, tag, text, note string) (newTag string, err error) {
	var header metadata.MD
	_, err = v.agents.SaveDraft(v.IfSeen(tag), &messagingpb.AgentServiceSaveDraftRequest{ConversationId: conversation, Text: text, Note: note}, grpc.Header(&header))
	return visit.TagOf(header), err
}

// autosave stores what is in the fields, for the page's script.
func (v *visitor) autosave() error {
	return v.Autosaved(v.saveDraft(v.R.PathValue("id"), v.R.PostFormValue("etag"), v.R.PostFormValue("texte"), v.R.PostFormValue("note")))
}
