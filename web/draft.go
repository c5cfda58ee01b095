package web

import (
	"net/http"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/web/internal/writing"
)

// begun is what a member has begun to write further in a conversation, and the tag of its
// draft; empty where there is none, or nobody can tell.
func (v *visit) begun(conversation string) (text, tag string) {
	var header metadata.MD
	resp, err := v.members.GetDraft(v.ctx, &messagingpb.GetDraftRequest{Id: writing.Further(conversation)}, grpc.Header(&header))
	if err != nil {
		return "", ""
	}
	return resp.GetDraft().GetText(), tagOf(header)
}

// saveFurther stores what is in the field of a conversation's page, for its script.
func (v *visit) saveFurther() error {
	return v.autosaved(&messagingpb.SaveDraftRequest{Id: writing.Further(v.r.PathValue("id")), Text: v.r.PostFormValue("texte")})
}

// saveSeen stores a message that is gone on with if its draft is still what the page has seen. A
// draft that is gone, sent or deleted in another tab, is begun again; one that another tab has
// changed is refused with what that has written, and the tag by which it may be replaced.
func (v *visit) saveSeen(d *writing.Draft) error {
	if d.Tag == "" {
		return v.save(d)
	}
	_, err := v.members.SaveDraft(metadata.AppendToOutgoingContext(v.ctx, "if-match", d.Tag), d.Request(v.session.Audience))
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

// autosaved stores a draft if it is still what the page has, of which the form has the tag; a
// page without one has seen none. The answer is for a script, and has the new tag.
func (v *visit) autosaved(req *messagingpb.SaveDraftRequest) error {
	condition, tag := "if-match", v.r.PostFormValue("etag")
	if tag == "" {
		condition, tag = "if-none-match", "*"
	}
	var header metadata.MD
	_, err := v.members.SaveDraft(metadata.AppendToOutgoingContext(v.ctx, condition, tag), req, grpc.Header(&header))
	code := http.StatusNoContent
	switch status.Code(err) {
	case codes.OK:
		v.w.Header().Set("ETag", tagOf(header))
	case codes.InvalidArgument:
		code = http.StatusUnprocessableEntity
	case codes.FailedPrecondition:
		code = http.StatusPreconditionFailed
	case codes.Unauthenticated:
		code = http.StatusUnauthorized
	default:
		code = http.StatusServiceUnavailable
	}
	v.w.WriteHeader(code)
	return nil
}

func tagOf(header metadata.MD) string { return strings.Join(header.Get("etag"), "") }
