package member

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/timestamppb"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/web/internal/receipt"
	"github.com/ma-messagerie/messagerie/web/internal/refusal"
	"github.com/ma-messagerie/messagerie/web/internal/writing"
)

// send is the guide's step 5. All that is sent is in the form, and the draft's id is
// the idempotency key: whatever is clicked twice is one message.
func (v *visitor) send() error {
	id := v.R.PathValue("id")
	version, _ := strconv.ParseInt(v.R.PostFormValue("version"), 10, 32)
	req := &messagingpb.SubmitMessageRequest{
		Audience: v.Session.Audience, Theme: v.R.PostFormValue("theme"), Topic: v.R.PostFormValue("topic"), Reason: v.R.PostFormValue("reason"),
		TaxonomyVersion: int32(version), Text: v.R.PostFormValue("texte"),
	}
	resp, err := v.members.SubmitMessage(metadata.AppendToOutgoingContext(v.Ctx, "idempotency-key", id), req)
	if err != nil {
		return v.unsent(req, err)
	}
	v.drop(id)
	v.remember(receipt.Of(resp.GetConversation(), resp.GetExpectedDelay()))
	return v.Redirect("/messagerie/confirmation/" + resp.GetConversation().GetId())
}

// unsent leads to the page where a refused message can be corrected.
func (v *visitor) unsent(req *messagingpb.SubmitMessageRequest, err error) error {
	reason := refusal.Reason(err)
	switch {
	case reason == "IDEMPOTENCY_KEY_REUSED":
		return v.another(err)
	case strings.HasPrefix(reason, "BODY_"):
		d, treeErr := v.formDraft()
		if treeErr != nil {
			return treeErr
		}
		return v.showMessage(http.StatusUnprocessableEntity, d, v.FaultsOf(err)...)
	case reason == "TAXONOMY_VERSION_OUTDATED", strings.HasPrefix(reason, "THEME_"), strings.HasPrefix(reason, "TOPIC_"), strings.HasPrefix(reason, "REASON_"):
		v.Trees.Forget(req.GetAudience(), req.GetTaxonomyVersion())
		// The draft may have another text: of another tab, or of before.
		if d, treeErr := v.formDraft(); treeErr != nil || v.save(d) != nil {
			return err
		}
		v.Flash(v.Tr("Les thèmes proposés ont changé entre-temps : vérifiez votre choix.", "The themes have changed in the meantime: check your choice."))
		return v.Redirect(writing.Path(v.R.PathValue("id"), writing.Recap))
	}
	return err
}

// another makes another draft of what was written, where a message with other words has left from
// the first: in another tab, or before an answer that was lost.
func (v *visitor) another(cause error) error {
	d, err := v.formDraft()
	if err != nil {
		return err
	}
	d.Id = uuid.NewString()
	if v.save(d) != nil {
		return cause // which shows what was written
	}
	v.drop(v.R.PathValue("id"))
	v.Flash(v.Tr("Un premier message est déjà parti de ce brouillon, avec un autre texte. Celui-ci n’est pas envoyé : c’est un nouveau message.",
		"A first message was already sent from this draft, with another text. This one is not sent: it is a new message."))
	return v.Redirect(d.Path(writing.Recap))
}

// remember keeps what the confirmation shows, with how the member is reached now.
func (v *visitor) remember(sent receipt.Receipt) {
	if now, err := v.members.GetPreferences(v.Ctx, &messagingpb.GetPreferencesRequest{}); err == nil { // without it, nothing is said of it
		sent.Reached = receipt.ReachedBy(now.GetPreferences())
	}
	sent.Keep(v.W, v.Seal, v.Session.ID)
}

// showConfirmation is the end of the guide's step 5, from what the sending was answered
// with. It can be opened again: reloaded for some minutes from the same, later and
// elsewhere from the conversation, when nobody can tell any more where its acknowledgement went.
func (v *visitor) showConfirmation() error {
	sent, ok := receipt.Kept(v.R, v.Seal, v.Session.ID, v.R.PathValue("id"))
	if !ok {
		resp, err := v.members.GetConversation(v.Ctx, &messagingpb.GetConversationRequest{Id: v.R.PathValue("id")})
		if err != nil {
			return err
		}
		sent = receipt.Of(resp.GetConversation(), target(resp.GetConversation()))
	}
	return v.Show(http.StatusOK, "confirmation", map[string]any{"Sent": sent, "Day": timestamppb.New(sent.Time), "Next": sent.Next(v.Pages, time.Now())})
}

// target is the answer time of a conversation that waits for one, as it was said when it was
// sent; nil when nothing was.
func target(c *messagingpb.Conversation) *messagingpb.ExpectedDelay {
	if !receipt.Waits(c) {
		return nil
	}
	return c.GetExpectedDelay()
}
