package member

import (
	"context"
	"fmt"
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
	"github.com/ma-messagerie/messagerie/web/internal/hint"
	"github.com/ma-messagerie/messagerie/web/internal/refusal"
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

// Labels are the levels of the selection, for templates.
func (p *conversationPage) Labels() []string { return desk.Labels(p.Conversation) }

func (v *visitor) showConversation() error {
	resp, err := v.members.GetConversation(v.Ctx, &messagingpb.GetConversationRequest{Id: v.R.PathValue("id")})
	if err != nil {
		return err
	}
	page := v.conversationPage(resp.GetConversation())
	var draft *messagingpb.Draft
	if draft, page.Tag = v.begun(resp.GetConversation().GetId()); !writing.Sent(page.GetMessages(), draft) {
		page.Text = draft.GetText()
	}
	if resp.GetConversation().GetUnread() {
		messages := resp.GetConversation().GetMessages()
		page.New = map[string]bool{firstNew(messages): true}
		// As far as is shown here: a reply that comes meanwhile stays unread.
		_, err := v.members.MarkConversationRead(v.Ctx, &messagingpb.MarkConversationReadRequest{Id: resp.GetConversation().GetId(), MessageId: messages[len(messages)-1].GetId()})
		if err != nil {
			return err
		}
	}
	return v.Show(http.StatusOK, "conversation", page)
}

func (v *visitor) conversationPage(c *messagingpb.Conversation) *conversationPage {
	// Without the taxonomy, the guide's limits: the service decides in any case.
	tree, _ := v.Trees.Tree(v.Ctx, c.GetAudience())
	return &conversationPage{
		Conversation: c, Key: uuid.NewString(), Limits: writing.LimitsFurther(tree), Timeline: v.timeline(c),
		Expected: v.expected(c),
	}
}

// expected says by when an answer is due; nothing when that is unknown, and once there is one.
func (v *visitor) expected(c *messagingpb.Conversation) string {
	return calendar.Answer(v.Pages, c.GetCreateTime().AsTime(), int(target(c).GetWorkingDays()), time.Now())
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
func (v *visitor) timeline(c *messagingpb.Conversation) []render.Entry {
	var list []render.Entry
	for _, step := range c.GetSteps() {
		list = append(list, v.Pages.Entry(step.GetTime().AsTime(), v.Pages.Step(step.GetKind())))
	}
	sent, err := v.deliveries.ListDeliveries(v.Ctx, &notifierpb.ListDeliveriesRequest{ConversationId: c.GetId()})
	if err == nil {
		for _, d := range sent.GetDeliveries() {
			if text := v.Pages.Delivery(d, false); text != "" {
				list = append(list, v.Pages.Entry(d.GetUpdateTime().AsTime(), text))
			}
		}
	}
	sort.SliceStable(list, func(i, j int) bool { return list[i].Time.Before(list[j].Time) })
	return list
}

// followUp adds a message. Its key is in the form, so that sending twice adds one.
func (v *visitor) followUp() error {
	id, key, text := v.R.PathValue("id"), v.R.PostFormValue("cle"), v.R.PostFormValue("texte")
	if uuid.Validate(key) != nil {
		return v.Redirect("/messagerie/conversations/" + id)
	}
	ctx := metadata.AppendToOutgoingContext(v.Ctx, "idempotency-key", key)
	_, err := v.members.PostFollowUp(ctx, &messagingpb.PostFollowUpRequest{Id: id, Text: text})
	if err != nil {
		return v.notAdded(id, key, text, err)
	}
	v.drop(id)
	v.Flash(v.Tr("Votre message est ajouté à la conversation.", "Your message was added to the conversation."))
	return v.Redirect("/messagerie/conversations/" + id)
}

// notAdded shows the conversation as it is now, with what was typed. One that cannot be read is
// fail's.
func (v *visitor) notAdded(id, key, text string, err error) error {
	if status.Code(err) == codes.Unauthenticated {
		return err
	}
	resp, readErr := v.members.GetConversation(v.Ctx, &messagingpb.GetConversationRequest{Id: id})
	if readErr != nil {
		return err //nolint:nilerr // that is why it was not added
	}
	page := v.conversationPage(resp.GetConversation())
	page.Key, page.Text, page.Tag = key, text, v.R.PostFormValue("etag")
	if resp.GetConversation().GetStatus() == messagingpb.Status_CLOSED {
		// There is no form any more that would carry it on.
		_, _ = v.members.SaveDraft(v.IfSeen(page.Tag), &messagingpb.SaveDraftRequest{Id: id, ConversationId: id, Text: text})
	}
	if reason := refusal.Reason(err); reason == "DRAFT_CHANGED" || reason == "DRAFT_EXISTS" {
		_, page.Tag = v.begun(id) // read, it may be replaced
	}
	if faults := v.FaultsOf(err); faults != nil {
		return v.Show(http.StatusUnprocessableEntity, "conversation", page, faults...)
	}
	problem := v.ProblemOf(err)
	v.Noted(problem, err)
	return v.Show(problem.Code, "conversation", page, v.AtField("text", problem, err))
}

// exportConversation gives a conversation as plain text.
func (v *visitor) exportConversation() error {
	resp, err := v.members.GetConversation(v.Ctx, &messagingpb.GetConversationRequest{Id: v.R.PathValue("id")})
	if err != nil {
		return err
	}
	c := resp.GetConversation()
	v.W.Header().Set("Content-Type", "text/plain; charset=utf-8")
	v.W.Header().Set("Content-Disposition", `attachment; filename="`+c.GetReference()+`.txt"`)
	_, _ = io.WriteString(v.W, v.Pages.Text(c, desk.Labels(c)))
	return nil
}

// watchConversations sends a member's pages what has changed, as server-sent events.
func (v *visitor) watchConversations() error {
	return v.Stream(func(ctx context.Context) (func() (hint.Hint, error), error) {
		stream, err := v.watches.WatchConversations(ctx, &messagingpb.WatchConversationsRequest{})
		return func() (hint.Hint, error) {
			change, err := stream.Recv()
			return hint.Hint{Name: "conversation", Data: fmt.Sprintf(`{"id":%q,"unread":%d}`, change.GetConversationId(), change.GetUnreadCount())}, err
		}, err
	})
}
