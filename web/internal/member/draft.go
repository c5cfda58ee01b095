package member

import (
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/web/internal/visit"
	"github.com/ma-messagerie/messagerie/web/internal/writing"
)

// begun is what a member has begun to write further in a conversation, and the tag of its
// draft; empty where there is none, or nobody can tell.
func (v *visitor) begun(conversation string) (draft *messagingpb.Draft, tag string) {
	var header metadata.MD
	resp, err := v.members.GetDraft(v.Ctx, &messagingpb.GetDraftRequest{Id: conversation}, grpc.Header(&header))
	if err != nil {
		return nil, ""
	}
	draft = resp.GetDraft()
	draft.Text = v.Cleaned(draft.GetText())
	return draft, visit.TagOf(header)
}

// drop deletes the draft of what was sent, as the page of it has seen it: what another tab has
// saved since stays. A draft that stays is deleted when it is old.
func (v *visitor) drop(id string) {
	if tag := v.R.PostFormValue("etag"); tag != "" {
		_, _ = v.members.DeleteDraft(v.IfSeen(tag), &messagingpb.DeleteDraftRequest{Id: id})
	}
}

// saveFurther stores what is in the field of a conversation's page, for its script.
func (v *visitor) saveFurther() error {
	id := v.R.PathValue("id")
	return v.storeSeen(&messagingpb.SaveDraftRequest{Id: id, ConversationId: id, Text: v.R.PostFormValue("texte")})
}

// keepFurther stores what stands in the field of a conversation's page when something else is done
// there. What another tab has written meanwhile is not replaced.
func (v *visitor) keepFurther() error {
	id, text, tag := v.R.PathValue("id"), v.R.PostFormValue("texte"), v.R.PostFormValue("etag")
	if strings.TrimSpace(text) == "" && tag == "" {
		return nil
	}
	_, err := v.members.SaveDraft(v.IfSeen(tag), &messagingpb.SaveDraftRequest{Id: id, ConversationId: id, Text: text})
	if status.Code(err) == codes.FailedPrecondition {
		if now, _ := v.begun(id); now.GetText() == text {
			return nil
		}
	}
	return err
}

// saveSeen stores a message that is gone on with if its draft is still what the page has seen. A
// draft that is gone, sent or deleted in another tab, is begun again; one that another tab has
// changed is refused with what that has written, and the tag by which it may be replaced.
func (v *visitor) saveSeen(d *writing.Draft) error {
	if d.Tag == "" {
		return v.save(d)
	}
	_, err := v.members.SaveDraft(v.IfSeen(d.Tag), d.Request(v.Session.Audience))
	if status.Code(err) != codes.FailedPrecondition {
		return err
	}
	now, readErr := v.draft()
	switch {
	case isGone(readErr), readErr == nil && now.GetText() == d.GetText():
		return v.save(d)
	case readErr != nil:
		return readErr
	}
	d.Tag, d.Other = now.Tag, now.GetText()
	return err
}

// storeSeen stores a draft if it is still what the page has, for the page's script.
func (v *visitor) storeSeen(req *messagingpb.SaveDraftRequest) error {
	var header metadata.MD
	_, err := v.members.SaveDraft(v.IfSeen(v.R.PostFormValue("etag")), req, grpc.Header(&header))
	return v.Autosaved(visit.TagOf(header), err)
}
