package web

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/timestamppb"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/web/internal/receipt"
	"github.com/ma-messagerie/messagerie/web/internal/refusal"
	"github.com/ma-messagerie/messagerie/web/internal/writing"
)

// send is the guide's step 5. All that is sent is in the form, and the draft's id is
// the idempotency key: whatever is clicked twice is one message.
func (v *visit) send() error {
	id := v.r.PathValue("id")
	version, _ := strconv.ParseInt(v.r.PostFormValue("version"), 10, 32)
	req := &messagingpb.SubmitMessageRequest{
		Audience: v.session.Audience, Theme: v.r.PostFormValue("theme"), Topic: v.r.PostFormValue("topic"), Reason: v.r.PostFormValue("reason"),
		TaxonomyVersion: int32(version), Text: v.r.PostFormValue("texte"),
	}
	resp, err := v.members.SubmitMessage(metadata.AppendToOutgoingContext(v.ctx, "idempotency-key", id), req)
	if err != nil {
		return v.unsent(req, err)
	}
	// A draft that stays is deleted when it is old; sent again, it is this message.
	_, _ = v.members.DeleteDraft(v.ctx, &messagingpb.DeleteDraftRequest{Id: id})
	v.remember(receipt.Of(resp.GetConversation(), resp.GetExpectedDelay()))
	return v.redirect("/messagerie/confirmation/" + resp.GetConversation().GetId())
}

// unsent leads to the page where a refused message can be corrected.
func (v *visit) unsent(req *messagingpb.SubmitMessageRequest, err error) error {
	reason := refusal.Reason(err)
	switch {
	case strings.HasPrefix(reason, "BODY_"):
		d, treeErr := v.formDraft()
		if treeErr != nil {
			return treeErr
		}
		return v.showMessage(http.StatusUnprocessableEntity, d, v.faultsOf(err)...)
	case reason == "TAXONOMY_VERSION_OUTDATED", strings.HasPrefix(reason, "THEME_"), strings.HasPrefix(reason, "TOPIC_"), strings.HasPrefix(reason, "REASON_"):
		v.trees.Forget(req.GetAudience(), req.GetTaxonomyVersion())
		// The draft may have another text: of another tab, or of before.
		if d, treeErr := v.formDraft(); treeErr != nil || v.save(d) != nil {
			return err
		}
		v.flash(v.tr("Les thèmes proposés ont changé entre-temps : vérifiez votre choix.", "The themes have changed in the meantime: check your choice."))
		return v.redirect(writing.Path(v.r.PathValue("id"), writing.Recap))
	}
	return err
}

// remember keeps what the confirmation shows, with how the member is reached now.
func (v *visit) remember(sent receipt.Receipt) {
	if now, err := v.members.GetPreferences(v.ctx, &messagingpb.GetPreferencesRequest{}); err == nil { // without it, nothing is said of it
		sent.Reached = receipt.ReachedBy(now.GetPreferences())
	}
	sent.Keep(v.w, v.seal, v.session.ID)
}

// showConfirmation is the end of the guide's step 5, from what the sending was answered
// with. It can be opened again: reloaded for some minutes from the same, later and
// elsewhere from the conversation, when nobody can tell any more where its acknowledgement went.
func (v *visit) showConfirmation() error {
	sent, ok := receipt.Kept(v.r, v.seal, v.session.ID, v.r.PathValue("id"))
	if !ok {
		resp, err := v.members.GetConversation(v.ctx, &messagingpb.GetConversationRequest{Id: v.r.PathValue("id")})
		if err != nil {
			return err
		}
		sent = receipt.Of(resp.GetConversation(), v.target(resp.GetConversation()))
	}
	return v.show(http.StatusOK, "confirmation", map[string]any{"Sent": sent, "Day": timestamppb.New(sent.Time), "Next": sent.Next(v.pages, time.Now())})
}

// target is the answer time of a conversation that waits for one; nil when none is known, and
// the rest is worth showing without it.
func (v *visit) target(c *messagingpb.Conversation) *messagingpb.ExpectedDelay {
	if !receipt.Waits(c) {
		return nil
	}
	delay, _ := v.members.GetExpectedDelay(v.ctx, &messagingpb.GetExpectedDelayRequest{
		Audience: c.GetAudience(), Theme: c.GetTheme().GetCode(), Topic: c.GetTopic().GetCode(), Reason: c.GetReason().GetCode(),
	})
	return delay.GetTarget()
}
