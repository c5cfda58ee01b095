package web

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/timestamppb"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/web/internal/refusal"
	"github.com/ma-messagerie/messagerie/web/internal/session"
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
	v.remember(receiptOf(resp.GetConversation(), resp.GetExpectedDelay()))
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
		v.flash(v.tr("Les thèmes proposés ont changé entre-temps : vérifiez votre choix.", "The themes have changed in the meantime: check your choice."))
		return v.redirect(writing.Path(v.r.PathValue("id"), writing.Recap))
	}
	return err
}

// receipt is what the confirmation shows of a message that was sent. None of it changes
// later.
type receipt struct {
	// Session binds it to whoever has sent the message.
	Session   string    `json:"s,omitempty"`
	ID        string    `json:"i"`
	Reference string    `json:"r"`
	Time      time.Time `json:"t"`
	Queue     string    `json:"q"`
	// Days is the target answer time in working days, 0 when none is announced.
	Days int32 `json:"d,omitempty"`
}

func receiptOf(c *messagingpb.Conversation, delay *messagingpb.ExpectedDelay) receipt {
	return receipt{
		ID: c.GetId(), Reference: c.GetReference(), Time: c.GetCreateTime().AsTime(), Queue: c.GetQueue().GetLabel(), Days: delay.GetWorkingDays(),
	}
}

const (
	// receiptCookie has the receipt of the last message, sealed, from its sending to its
	// confirmation, and for reloads of that.
	receiptCookie  = "__Host-sent"
	receiptSeconds = 600
)

// remember keeps a receipt for the next page. Without it, that page asks the gateway.
func (v *visit) remember(sent receipt) {
	sent.Session = v.session.ID
	if sealed, err := v.seal.Seal(receiptCookie, sent); err == nil && sent.Session != "" {
		session.SetCookie(v.w, receiptCookie, sealed, receiptSeconds)
	}
}

// remembered is the receipt of a conversation that was just begun in this session.
func (v *visit) remembered(id string) (sent receipt, ok bool) {
	cookie, err := v.r.Cookie(receiptCookie)
	if err != nil || !v.seal.Open(receiptCookie, cookie.Value, &sent) {
		return sent, false
	}
	return sent, sent.ID == id && sent.Session != "" && sent.Session == v.session.ID
}

// showConfirmation is the end of the guide's step 5, from what the sending was answered
// with. It can be opened again: reloaded for some minutes from the same, later and
// elsewhere from the conversation.
func (v *visit) showConfirmation() error {
	sent, ok := v.remembered(v.r.PathValue("id"))
	if !ok {
		resp, err := v.members.GetConversation(v.ctx, &messagingpb.GetConversationRequest{Id: v.r.PathValue("id")})
		if err != nil {
			return err
		}
		c := resp.GetConversation()
		delay, err := v.members.GetExpectedDelay(v.ctx, &messagingpb.GetExpectedDelayRequest{
			Audience: c.GetAudience(), Theme: c.GetTheme().GetCode(), Topic: c.GetTopic().GetCode(), Reason: c.GetReason().GetCode(),
		})
		if err != nil { // the rest is worth showing without it
			delay = nil
		}
		sent = receiptOf(c, delay.GetTarget())
	}
	return v.show(http.StatusOK, "confirmation", map[string]any{"Sent": sent, "Day": timestamppb.New(sent.Time), "Target": v.pages.WorkingDays(sent.Days)})
}
