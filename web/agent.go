package web

import (
	"net/http"
	"strings"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	notifierpb "github.com/ma-messagerie/messagerie/proto/messagerie/notifier/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/web/internal/refusal"
	"github.com/ma-messagerie/messagerie/web/internal/render"
	"github.com/ma-messagerie/messagerie/web/internal/writing"
)

// agentPage is one conversation in an agent's hands.
type agentPage struct {
	console
	*messagingpb.Conversation
	Timeline  []entry
	Templates []*messagingpb.Template
	Queues    []*messagingpb.AgentQueue
	Choices   []writing.Option
	// Key is the idempotency key of a reply or note, Text what was typed of a reply,
	// Preview shows it as the member will see it.
	Key, NoteKey, Text, Note string
	Final, Preview           bool
}

// Labels are the levels of the selection.
func (p *agentPage) Labels() []string { return labels(p.Conversation) }

// MayAct reports whether the agent may answer: nobody else holds the conversation.
func (p *agentPage) MayAct() bool {
	return p.GetStatus() != messagingpb.Status_CLOSED && !p.GetErased() && (p.GetClaim() == nil || p.GetClaim().GetMine())
}

func (v *visit) showForAgent() error {
	page, err := v.agentPage(v.r.PathValue("id"))
	if err != nil {
		return err
	}
	if id := v.r.FormValue("modele"); id != "" {
		for _, template := range page.Templates {
			if template.GetId() == id {
				page.Text = v.filled(template.GetText(), page.Conversation)
			}
		}
	}
	return v.show(http.StatusOK, "agent", page)
}

func (v *visit) agentPage(id string) (*agentPage, error) {
	resp, err := v.agents.GetConversation(v.ctx, &messagingpb.AgentServiceGetConversationRequest{Id: id})
	if err != nil {
		return nil, err
	}
	c := resp.GetConversation()
	page := &agentPage{console: v.console(), Conversation: c, Key: uuid.NewString(), NoteKey: uuid.NewString(), Final: true}
	templates, err := v.agents.ListTemplates(v.ctx, &messagingpb.ListTemplatesRequest{Queue: c.GetQueue().GetCode()})
	if err != nil {
		return nil, err
	}
	page.Templates = templates.GetTemplates()
	queues, err := v.agents.ListQueues(v.ctx, &messagingpb.ListQueuesRequest{})
	if err != nil {
		return nil, err
	}
	page.Queues = queues.GetQueues()
	page.Choices = v.choices(c.GetAudience())
	page.Timeline = v.agentTimeline(c)
	return page, nil
}

// choices are all selections of an audience, each as one option; none while the
// taxonomy is away.
func (v *visit) choices(audience taxonomypb.Audience) []writing.Option {
	tree, err := v.trees.Tree(v.ctx, audience)
	if err != nil {
		return nil
	}
	var list []writing.Option
	add := func(label string, codes ...string) {
		list = append(list, writing.Option{Code: strings.Join(codes, "/"), Label: label})
	}
	for _, theme := range tree.GetThemes() {
		if tree.GetDepth() <= taxonomypb.Depth_THEME {
			add(theme.GetLabel(), theme.GetCode())
		}
		for _, topic := range theme.GetTopics() {
			if tree.GetDepth() <= taxonomypb.Depth_TOPIC {
				add(theme.GetLabel()+" › "+topic.GetLabel(), theme.GetCode(), topic.GetCode())
			}
			for _, reason := range topic.GetReasons() {
				add(theme.GetLabel()+" › "+topic.GetLabel()+" › "+reason.GetLabel(), theme.GetCode(), topic.GetCode(), reason.GetCode())
			}
		}
	}
	return list
}

// agentTimeline is what left to the member.
func (v *visit) agentTimeline(c *messagingpb.Conversation) []entry {
	sent, err := v.timelines.ListDeliveries(v.ctx, &notifierpb.AgentServiceListDeliveriesRequest{ConversationId: c.GetId()})
	if err != nil {
		return nil
	}
	var list []entry
	for _, d := range sent.GetDeliveries() {
		if text := v.deliveryText(d); text != "" {
			list = append(list, v.entry(d.GetUpdateTime().AsTime(), text))
		}
	}
	return list
}

// filled is a template's text with its placeholders replaced.
func (v *visit) filled(text string, c *messagingpb.Conversation) string {
	return strings.NewReplacer(
		"{{reference}}", c.GetReference(), "{{theme}}", c.GetTheme().GetLabel(), "{{topic}}", c.GetTopic().GetLabel(),
		"{{date}}", render.LongDay(c.GetCreateTime().AsTime(), "fr"),
	).Replace(text)
}

// actOn does what an agent asks for and comes back to the conversation.
func (v *visit) actOn() error {
	id := v.r.PathValue("id")
	here := "/agent/conversations/" + id
	var err error
	note := ""
	switch v.r.PathValue("act") {
	case "prendre":
		_, err = v.agents.ClaimConversation(v.ctx, &messagingpb.ClaimConversationRequest{Id: id})
		note = v.tr("Vous avez pris la conversation en charge.", "You have claimed this conversation.")
	case "relacher":
		_, err = v.agents.ReleaseConversation(v.ctx, &messagingpb.ReleaseConversationRequest{Id: id})
		here, note = "/agent", v.tr("La conversation est rendue à la file.", "The conversation is back in the queue.")
	case "clore":
		_, err = v.agents.CloseConversation(v.ctx, &messagingpb.CloseConversationRequest{Id: id})
		note = v.tr("La conversation est close.", "The conversation is closed.")
	case "rouvrir":
		_, err = v.agents.ReopenConversation(v.ctx, &messagingpb.ReopenConversationRequest{Id: id})
		note = v.tr("La conversation est rouverte.", "The conversation has been reopened.")
	case "transfert":
		_, err = v.agents.TransferConversation(v.ctx, &messagingpb.TransferConversationRequest{Id: id, Queue: v.r.PostFormValue("file")})
		here, note = "/agent", v.tr("La conversation est transférée.", "The conversation was transferred.")
	case "reclasser":
		codes := append(strings.Split(v.r.PostFormValue("choix"), "/"), "", "")
		_, err = v.agents.RecategoriseConversation(v.ctx, &messagingpb.RecategoriseConversationRequest{Id: id, Theme: codes[0], Topic: codes[1], Reason: codes[2]})
		note = v.tr("La conversation est reclassée.", "The conversation was reclassified.")
	case "repondre":
		return v.reply(id)
	case "noter":
		return v.addNote(id)
	default:
		return refusal.ErrNoPage
	}
	if err != nil {
		return err
	}
	v.flash(note)
	return v.redirect(here)
}

// reply sends an answer, or shows first what the member will see.
func (v *visit) reply(id string) error {
	key, text := v.r.PostFormValue("cle"), v.r.PostFormValue("texte")
	final := v.r.PostFormValue("definitive") != ""
	if uuid.Validate(key) != nil {
		key = uuid.NewString()
	}
	again := func(code int, preview bool, faults ...fault) error {
		page, err := v.agentPage(id)
		if err != nil {
			return err
		}
		page.Key, page.Text, page.Final, page.Preview = key, text, final, preview
		return v.show(code, "agent", page, faults...)
	}
	if v.r.PostFormValue("faire") != "envoyer" {
		if strings.TrimSpace(text) == "" {
			return again(http.StatusUnprocessableEntity, false, fault{Field: "text", Text: v.tr("Écrivez une réponse.", "Write a reply.")})
		}
		return again(http.StatusOK, v.r.PostFormValue("faire") == "apercu")
	}
	ctx := metadata.AppendToOutgoingContext(v.ctx, "idempotency-key", key)
	_, err := v.agents.PostReply(ctx, &messagingpb.PostReplyRequest{Id: id, Text: text, Final: final})
	if faults := v.faultsOf(err); faults != nil {
		return again(http.StatusUnprocessableEntity, false, faults...)
	}
	if code := status.Code(err); code == codes.FailedPrecondition || code == codes.Unavailable {
		// What was written stays on the page.
		p := v.problemOf(err)
		return again(p.Code, false, fault{Field: "text", Text: p.Title + ". " + p.Text})
	}
	if err != nil {
		return err
	}
	v.flash(v.tr("La réponse est envoyée. L’adhérent en est averti par e-mail.", "The reply was sent. The member is notified by e-mail."))
	return v.redirect("/agent/conversations/" + id)
}

func (v *visit) addNote(id string) error {
	key, text := v.r.PostFormValue("cle"), v.r.PostFormValue("note")
	if uuid.Validate(key) != nil {
		key = uuid.NewString()
	}
	ctx := metadata.AppendToOutgoingContext(v.ctx, "idempotency-key", key)
	_, err := v.agents.AddNote(ctx, &messagingpb.AddNoteRequest{Id: id, Text: text})
	if faults := v.faultsOf(err); faults != nil {
		page, err := v.agentPage(id)
		if err != nil {
			return err
		}
		page.NoteKey, page.Note = key, text
		for i := range faults {
			faults[i].Field = "note"
		}
		return v.show(http.StatusUnprocessableEntity, "agent", page, faults...)
	}
	if err != nil {
		return err
	}
	v.flash(v.tr("La note est ajoutée.", "The note was added."))
	return v.redirect("/agent/conversations/" + id)
}
