package web

import (
	"fmt"
	"io"
	"net/http"
	"sort"
	"strings"

	"github.com/google/uuid"
	"google.golang.org/grpc/metadata"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	notifierpb "github.com/ma-messagerie/messagerie/proto/messagerie/notifier/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/web/internal/desk"
	"github.com/ma-messagerie/messagerie/web/internal/render"
	"github.com/ma-messagerie/messagerie/web/internal/writing"
)

// conversationPage is one conversation with what became of it.
type conversationPage struct {
	*messagingpb.Conversation
	Timeline []render.Entry
	// Key is the idempotency key of a further message, Text what was typed.
	Key, Text string
	Limits    *taxonomypb.TextLimits
	// New has the id of the first message that was not read before this visit.
	New map[string]bool
}

func (v *visit) showConversation() error {
	resp, err := v.members.GetConversation(v.ctx, &messagingpb.GetConversationRequest{Id: v.r.PathValue("id")})
	if err != nil {
		return err
	}
	page := v.conversationPage(resp.GetConversation())
	if resp.GetConversation().GetUnread() {
		messages := resp.GetConversation().GetMessages()
		page.New = map[string]bool{firstNew(messages): true}
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
func (v *visit) timeline(c *messagingpb.Conversation) []render.Entry {
	var list []render.Entry
	for _, step := range c.GetSteps() {
		list = append(list, v.pages.Entry(step.GetTime().AsTime(), v.pages.Step(step.GetKind())))
	}
	sent, err := v.deliverer.ListDeliveries(v.ctx, &notifierpb.ListDeliveriesRequest{ConversationId: c.GetId()})
	if err == nil {
		for _, d := range sent.GetDeliveries() {
			if text := v.pages.Delivery(d, false); text != "" {
				list = append(list, v.pages.Entry(d.GetUpdateTime().AsTime(), text))
			}
		}
	}
	sort.SliceStable(list, func(i, j int) bool { return list[i].Time.Before(list[j].Time) })
	return list
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
	fmt.Fprintf(&out, "%s %s\n%s\n%s : %s\n\n", v.tr("Conversation", "Conversation"), c.GetReference(), strings.Join(desk.Labels(c), " – "),
		v.tr("État", "Status"), render.StatusLabel(c.GetStatus(), v.pages.Lang))
	for _, m := range c.GetMessages() {
		fmt.Fprintf(&out, "%s, %s\n\n%s\n\n---\n\n", v.pages.Writer(c, m, false), render.Moment(m.GetCreateTime().AsTime(), v.pages.Lang), m.GetText())
	}
	v.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	v.w.Header().Set("Content-Disposition", `attachment; filename="`+c.GetReference()+`.txt"`)
	_, _ = io.WriteString(v.w, out.String())
	return nil
}

// Labels are the levels of the selection, for templates.
func (p *conversationPage) Labels() []string { return desk.Labels(p.Conversation) }
