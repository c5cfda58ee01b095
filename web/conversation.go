package web

import (
	"io"
	"net/http"
	"sort"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	notifierpb "github.com/ma-messagerie/messagerie/proto/messagerie/notifier/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/web/internal/calendar"
	"github.com/ma-messagerie/messagerie/web/internal/desk"
	"github.com/ma-messagerie/messagerie/web/internal/render"
	"github.com/ma-messagerie/messagerie/web/internal/writing"
)

// conversationPage is one conversation with what became of it.
type conversationPage struct {
	*messagingpb.Conversation
	Timeline []render.Entry
	// Key is the idempotency key of a further message, Text what was typed, Tag that of the
	// draft which has it.
	Key, Text, Tag string
	Limits         *taxonomypb.TextLimits
	// Expected says by when an answer is due; empty when unknown, and once there is one.
	Expected string
	// New has the id of the first message that was not read before this visit.
	New map[string]bool
}

func (v *visit) showConversation() error {
	resp, err := v.members.GetConversation(v.ctx, &messagingpb.GetConversationRequest{Id: v.r.PathValue("id")})
	if err != nil {
		return err
	}
	page := v.conversationPage(resp.GetConversation())
	if page.Text, page.Tag = v.begun(resp.GetConversation().GetId()); writing.Sent(page.GetMessages(), page.Text) {
		page.Text = ""
	}
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
	return &conversationPage{
		Conversation: c, Key: uuid.NewString(), Limits: writing.Limits(tree), Timeline: v.timeline(c),
		Expected: calendar.Answer(v.pages, c.GetCreateTime().AsTime(), int(v.target(c).GetWorkingDays()), time.Now()),
	}
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
	if err != nil {
		return v.notAdded(id, key, text, err)
	}
	// A draft that stays is deleted when it is old.
	_, _ = v.members.DeleteDraft(v.ctx, &messagingpb.DeleteDraftRequest{Id: writing.Further(id)})
	v.flash(v.tr("Votre message est ajouté à la conversation.", "Your message was added to the conversation."))
	return v.redirect("/messagerie/conversations/" + id)
}

// notAdded shows the conversation as it is now, with what was typed. One that cannot be read is
// fail's.
func (v *visit) notAdded(id, key, text string, err error) error {
	if status.Code(err) == codes.Unauthenticated {
		return err
	}
	resp, readErr := v.members.GetConversation(v.ctx, &messagingpb.GetConversationRequest{Id: id})
	if readErr != nil {
		return err //nolint:nilerr // that is why it was not added
	}
	page := v.conversationPage(resp.GetConversation())
	page.Key, page.Text, page.Tag = key, text, v.r.PostFormValue("etag")
	if faults := v.faultsOf(err); faults != nil {
		return v.show(http.StatusUnprocessableEntity, "conversation", page, faults...)
	}
	problem := v.problemOf(err)
	v.noted(problem, err)
	return v.show(problem.Code, "conversation", page, v.atField("text", problem, err))
}

// exportConversation gives a conversation as plain text.
func (v *visit) exportConversation() error {
	resp, err := v.members.GetConversation(v.ctx, &messagingpb.GetConversationRequest{Id: v.r.PathValue("id")})
	if err != nil {
		return err
	}
	c := resp.GetConversation()
	v.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	v.w.Header().Set("Content-Disposition", `attachment; filename="`+c.GetReference()+`.txt"`)
	_, _ = io.WriteString(v.w, v.pages.Text(c, desk.Labels(c))) //nolint:gosec // plain text, which no browser takes for HTML
	return nil
}

// Labels are the levels of the selection, for templates.
func (p *conversationPage) Labels() []string { return desk.Labels(p.Conversation) }
