package web

import (
	"fmt"
	"io"
	"net/http"
	"sort"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/metadata"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	notifierpb "github.com/ma-messagerie/messagerie/proto/messagerie/notifier/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/web/internal/render"
	"github.com/ma-messagerie/messagerie/web/internal/writing"
)

// conversationPage is one conversation with what became of it.
type conversationPage struct {
	*messagingpb.Conversation
	Timeline []entry
	// Key is the idempotency key of a further message, Text what was typed.
	Key, Text string
	Limits    *taxonomypb.TextLimits
	// New is the id of the first message that was not read before this visit.
	New string
}

// entry is one line of the timeline.
type entry struct {
	Time time.Time
	// When is the time as people read it.
	When, Text string
}

func (v *visit) entry(at time.Time, text string) entry {
	return entry{at, render.Moment(at, v.pages.Lang), text}
}

func (v *visit) showConversation() error {
	resp, err := v.members.GetConversation(v.ctx, &messagingpb.GetConversationRequest{Id: v.r.PathValue("id")})
	if err != nil {
		return err
	}
	page := v.conversationPage(resp.GetConversation())
	if resp.GetConversation().GetUnread() {
		messages := resp.GetConversation().GetMessages()
		page.New = firstNew(messages)
		// As far as is shown here: a reply that comes meanwhile stays unread.
		_, err := v.members.MarkConversationRead(v.ctx, &messagingpb.MarkConversationReadRequest{Id: resp.GetConversation().GetId(), MessageId: messages[len(messages)-1].GetId()})
		if err != nil {
			return err
		}
	}
	return v.show(http.StatusOK, "conversation", page)
}

func (v *visit) conversationPage(c *messagingpb.Conversation) *conversationPage {
	// Without the taxonomy, the guide's limits: the service decides in any case.
	tree, _ := v.trees.Tree(v.ctx, c.GetAudience())
	return &conversationPage{Conversation: c, Key: uuid.NewString(), Limits: writing.Limits(tree), Timeline: v.timeline(c)}
}

// firstNew is the last run of the fund's messages, which is what an unread mark is
// about as far as one can tell.
func firstNew(messages []*messagingpb.Message) string {
	first := ""
	for i := len(messages) - 1; i >= 0 && messages[i].GetAuthor() == messagingpb.Author_AGENT; i-- {
		first = messages[i].GetId()
	}
	return first
}

// timeline is what happened, with the notifications that left. When nobody can tell
// about these, the rest is shown.
func (v *visit) timeline(c *messagingpb.Conversation) []entry {
	var list []entry
	for _, step := range c.GetSteps() {
		list = append(list, v.entry(step.GetTime().AsTime(), v.stepText(step.GetKind())))
	}
	sent, err := v.deliverer.ListDeliveries(v.ctx, &notifierpb.ListDeliveriesRequest{ConversationId: c.GetId()})
	if err == nil {
		for _, d := range sent.GetDeliveries() {
			if text := v.deliveryText(d); text != "" {
				list = append(list, v.entry(d.GetUpdateTime().AsTime(), text))
			}
		}
	}
	sort.SliceStable(list, func(i, j int) bool { return list[i].Time.Before(list[j].Time) })
	return list
}

func (v *visit) stepText(kind messagingpb.Step_Kind) string {
	switch kind {
	case messagingpb.Step_RECEIVED:
		return v.tr("Votre message est reçu.", "Your message was received.")
	case messagingpb.Step_CLAIMED:
		return v.tr("Un conseiller le prend en charge.", "An adviser is now handling your message.")
	case messagingpb.Step_REPLIED:
		return v.tr("Un conseiller vous a répondu.", "An adviser has replied.")
	case messagingpb.Step_FOLLOWED_UP:
		return v.tr("Vous avez ajouté un message.", "You added a message.")
	case messagingpb.Step_REDIRECTED:
		return v.tr("Votre demande est orientée vers le bon service.", "Your request has been passed to the right department.")
	case messagingpb.Step_CLOSED:
		return v.tr("La conversation est close.", "The conversation is closed.")
	case messagingpb.Step_REOPENED:
		return v.tr("La conversation est rouverte.", "The conversation has been reopened.")
	case messagingpb.Step_KIND_UNSPECIFIED:
	}
	return ""
}

// deliveryText tells the truth about one notification in plain words.
func (v *visit) deliveryText(d *notifierpb.Delivery) string {
	what := v.tr("L’accusé de réception par e-mail", "The acknowledgement by e-mail")
	switch {
	case d.GetPurpose() == notifierpb.Purpose_REPLY && d.GetChannel() == notifierpb.Channel_SMS:
		what = v.tr("Le SMS d’annonce de la réponse", "The SMS about the reply")
	case d.GetPurpose() == notifierpb.Purpose_REPLY:
		what = v.tr("L’e-mail d’annonce de la réponse", "The e-mail about the reply")
	case d.GetChannel() == notifierpb.Channel_SMS:
		what = v.tr("Le SMS de confirmation", "The confirmation SMS")
	}
	switch d.GetState() {
	case notifierpb.DeliveryState_PENDING:
		return v.tr("%s va partir.", "%s will be sent shortly.", what)
	case notifierpb.DeliveryState_ACCEPTED:
		return v.tr("%s est parti.", "%s has been sent.", what)
	case notifierpb.DeliveryState_DELIVERED:
		return v.tr("%s vous est parvenu.", "%s has reached you.", what)
	case notifierpb.DeliveryState_BOUNCED, notifierpb.DeliveryState_REFUSED:
		return v.tr("%s n’a pas pu vous parvenir : vérifiez vos coordonnées dans vos préférences.", "%s could not reach you: check your contact details in your preferences.", what)
	case notifierpb.DeliveryState_COMPLAINED:
		return v.tr("%s a été classé comme indésirable par votre messagerie.", "%s was marked as spam by your mail provider.", what)
	case notifierpb.DeliveryState_EXPIRED:
		return v.tr("%s n’a pas pu partir à temps.", "%s could not be sent in time.", what)
	case notifierpb.DeliveryState_SUPPRESSED:
		return v.tr("%s n’est pas parti : nous n’avons pas de coordonnées valables.", "%s was not sent: we have no valid contact details.", what)
	case notifierpb.DeliveryState_DELIVERY_STATE_UNSPECIFIED:
	}
	return ""
}

// followUp adds a message. Its key is in the form, so that sending twice adds one.
func (v *visit) followUp() error {
	id, key, text := v.r.PathValue("id"), v.r.PostFormValue("cle"), v.r.PostFormValue("texte")
	if uuid.Validate(key) != nil {
		return v.redirect("/messagerie/conversations/" + id)
	}
	ctx := metadata.AppendToOutgoingContext(v.ctx, "idempotency-key", key)
	_, err := v.members.PostFollowUp(ctx, &messagingpb.PostFollowUpRequest{Id: id, Text: text})
	if faults := v.faultsOf(err); faults != nil {
		resp, err := v.members.GetConversation(v.ctx, &messagingpb.GetConversationRequest{Id: id})
		if err != nil {
			return err
		}
		page := v.conversationPage(resp.GetConversation())
		page.Key, page.Text = key, text
		return v.show(http.StatusUnprocessableEntity, "conversation", page, faults...)
	}
	if err != nil {
		return err
	}
	v.flash(v.tr("Votre message est ajouté à la conversation.", "Your message was added to the conversation."))
	return v.redirect("/messagerie/conversations/" + id)
}

// exportConversation gives a conversation as plain text.
func (v *visit) exportConversation() error {
	resp, err := v.members.GetConversation(v.ctx, &messagingpb.GetConversationRequest{Id: v.r.PathValue("id")})
	if err != nil {
		return err
	}
	c := resp.GetConversation()
	var out strings.Builder
	fmt.Fprintf(&out, "%s %s\n%s\n%s : %s\n\n", v.tr("Conversation", "Conversation"), c.GetReference(), strings.Join(labels(c), " – "),
		v.tr("État", "Status"), render.StatusLabel(c.GetStatus(), v.pages.Lang))
	for _, m := range c.GetMessages() {
		author := v.tr("Vous", "You")
		if m.GetAuthor() == messagingpb.Author_AGENT {
			author = v.cfg.FundName
		}
		fmt.Fprintf(&out, "%s, %s\n\n%s\n\n---\n\n", author, render.Moment(m.GetCreateTime().AsTime(), v.pages.Lang), m.GetText())
	}
	v.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	v.w.Header().Set("Content-Disposition", `attachment; filename="`+c.GetReference()+`.txt"`)
	_, _ = io.WriteString(v.w, out.String())
	return nil
}

// labels are the levels of a selection, as far as it was made.
func labels(c *messagingpb.Conversation) []string {
	var list []string
	for _, choice := range []*messagingpb.Choice{c.GetTheme(), c.GetTopic(), c.GetReason()} {
		if choice != nil {
			list = append(list, choice.GetLabel())
		}
	}
	return list
}

// Labels are the levels of the selection, for templates.
func (p *conversationPage) Labels() []string { return labels(p.Conversation) }
