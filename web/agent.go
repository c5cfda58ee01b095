package web

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	notifierpb "github.com/ma-messagerie/messagerie/proto/messagerie/notifier/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

// shortcutsCookie is how an agent has set single-key shortcuts: "non" is off.
const shortcutsCookie = "__Host-raccourcis"

// console is what every page of the agents' has.
type console struct {
	// Shortcuts are on unless switched off (WCAG 2.1.4).
	Shortcuts bool
}

func (v *visit) console() console {
	cookie, err := v.r.Cookie(shortcutsCookie)
	return console{Shortcuts: err != nil || cookie.Value != "non"}
}

func (v *visit) setShortcuts() error {
	on := "non"
	if v.r.PostFormValue("actifs") == "oui" {
		on = "oui"
	}
	setCookie(v.w, shortcutsCookie, on, 365*24*3600)
	back := ownPath(v.r.PostFormValue("retour"))
	if back == "" {
		back = "/agent"
	}
	return v.redirect(back)
}

// queuePage is the agents' queue.
type queuePage struct {
	console
	Conversations []*messagingpb.Conversation
	Queues        []*messagingpb.AgentQueue
	Themes        []option
	Next          string
	// The filters as they are.
	Queue, Theme, State string
	Now                 time.Time
}

// states are the filters by state, in the order of the form.
var states = map[string][]messagingpb.Status{
	"":           nil, // what waits for the body
	"nouveaux":   {messagingpb.Status_SENT},
	"encours":    {messagingpb.Status_IN_PROGRESS},
	"partielles": {messagingpb.Status_PARTLY_ANSWERED},
	"rouvertes":  {messagingpb.Status_REOPENED},
	"repondues":  {messagingpb.Status_ANSWERED},
	"closes":     {messagingpb.Status_CLOSED},
}

func (v *visit) showQueue() error {
	page := queuePage{console: v.console(), Queue: v.r.FormValue("file"), Theme: v.r.FormValue("theme"), State: v.r.FormValue("etat"), Now: time.Now()}
	list, err := v.agents.ListConversations(v.ctx, &messagingpb.AgentServiceListConversationsRequest{
		Queue: page.Queue, Theme: page.Theme, Statuses: states[page.State], PageToken: v.r.FormValue("suite"),
	})
	if err != nil {
		return err
	}
	page.Conversations, page.Next = list.GetConversations(), list.GetNextPageToken()
	queues, err := v.agents.ListQueues(v.ctx, &messagingpb.ListQueuesRequest{})
	if err != nil {
		return err
	}
	page.Queues = queues.GetQueues()
	page.Themes = v.themes()
	return v.show(http.StatusOK, "queue", page)
}

// themes are those of all audiences, for filters; none while the taxonomy is away.
func (v *visit) themes() []option {
	var list []option
	for _, audience := range []taxonomypb.Audience{taxonomypb.Audience_PARTICULIER, taxonomypb.Audience_EXPLOITANT, taxonomypb.Audience_EMPLOYEUR} {
		tree, err := v.taxonomy.GetTaxonomy(v.ctx, &taxonomypb.GetTaxonomyRequest{Audience: audience})
		if err != nil {
			continue
		}
		for _, theme := range tree.GetThemes() {
			if !slices.ContainsFunc(list, func(o option) bool { return o.Code == theme.GetCode() }) {
				list = append(list, option{theme.GetCode(), theme.GetLabel(), ""})
			}
		}
	}
	return list
}

// Query is the filters without the page, to go on from.
func (p queuePage) Query() string {
	return url.Values{"file": {p.Queue}, "theme": {p.Theme}, "etat": {p.State}}.Encode()
}

// Waits is how long a conversation has waited, in days and hours.
func (p queuePage) Waits(c *messagingpb.Conversation) (days, hours int) {
	waited := p.Now.Sub(c.GetCreateTime().AsTime())
	return int(waited.Hours()) / 24, int(waited.Hours()) % 24
}

// Days is the first part of Waits, for templates.
func (p queuePage) Days(c *messagingpb.Conversation) int { days, _ := p.Waits(c); return days }

// Hours is the second.
func (p queuePage) Hours(c *messagingpb.Conversation) int { _, hours := p.Waits(c); return hours }

// agentPage is one conversation in an agent's hands.
type agentPage struct {
	console
	*messagingpb.Conversation
	Timeline  []entry
	Templates []*messagingpb.Template
	Queues    []*messagingpb.AgentQueue
	Choices   []option
	// Key is the idempotency key of a reply or note, Text what was typed of a reply,
	// Preview shows it as the member will see it.
	Key, NoteKey, Text, Note string
	Final, Preview           bool
}

// Labels are the levels of the selection.
func (p *agentPage) Labels() []string { return labels(p.Conversation) }

// MayAct tells whether the agent may answer: nobody else holds the conversation.
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
func (v *visit) choices(audience taxonomypb.Audience) []option {
	tree, err := v.taxonomy.GetTaxonomy(v.ctx, &taxonomypb.GetTaxonomyRequest{Audience: audience})
	if err != nil {
		return nil
	}
	var list []option
	add := func(label string, codes ...string) {
		list = append(list, option{strings.Join(codes, "/"), label, ""})
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
		"{{date}}", longDay(c.GetCreateTime().AsTime(), "fr"),
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
		note = v.tr("Vous avez pris la conversation en charge.", "The conversation is in your hands.")
	case "relacher":
		_, err = v.agents.ReleaseConversation(v.ctx, &messagingpb.ReleaseConversationRequest{Id: id})
		here, note = "/agent", v.tr("La conversation est rendue à la file.", "The conversation is back in the queue.")
	case "clore":
		_, err = v.agents.CloseConversation(v.ctx, &messagingpb.CloseConversationRequest{Id: id})
		note = v.tr("La conversation est close.", "The conversation is closed.")
	case "rouvrir":
		_, err = v.agents.ReopenConversation(v.ctx, &messagingpb.ReopenConversationRequest{Id: id})
		note = v.tr("La conversation est rouverte.", "The conversation is open again.")
	case "transfert":
		_, err = v.agents.TransferConversation(v.ctx, &messagingpb.TransferConversationRequest{Id: id, Queue: v.r.PostFormValue("file")})
		here, note = "/agent", v.tr("La conversation est transférée.", "The conversation was transferred.")
	case "reclasser":
		codes := append(strings.Split(v.r.PostFormValue("choix"), "/"), "", "")
		_, err = v.agents.RecategoriseConversation(v.ctx, &messagingpb.RecategoriseConversationRequest{Id: id, Theme: codes[0], Topic: codes[1], Reason: codes[2]})
		note = v.tr("La conversation est reclassée.", "The conversation was classified anew.")
	case "repondre":
		return v.reply(id)
	case "noter":
		return v.addNote(id)
	default:
		return errNoPage
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
			return again(http.StatusUnprocessableEntity, false, fault{"text", v.tr("Écrivez une réponse.", "Write a reply.")})
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
		return again(p.Code, false, fault{"text", p.Title + ". " + p.Text})
	}
	if err != nil {
		return err
	}
	v.flash(v.tr("La réponse est envoyée. L’adhérent en est averti par e-mail.", "The reply was sent. The member is told by e-mail."))
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

// templatesPage lists reply templates, and edits one for a supervisor.
type templatesPage struct {
	console
	Templates []*messagingpb.Template
	Queues    []*messagingpb.AgentQueue
	Edited    *messagingpb.Template
}

func (v *visit) showTemplates() error {
	page, err := v.templatesPage()
	if err != nil {
		return err
	}
	for _, template := range page.Templates {
		if template.GetId() == v.r.FormValue("modifier") {
			page.Edited = template
		}
	}
	return v.show(http.StatusOK, "templates", page)
}

func (v *visit) templatesPage() (*templatesPage, error) {
	list, err := v.agents.ListTemplates(v.ctx, &messagingpb.ListTemplatesRequest{})
	if err != nil {
		return nil, err
	}
	queues, err := v.agents.ListQueues(v.ctx, &messagingpb.ListQueuesRequest{})
	if err != nil {
		return nil, err
	}
	return &templatesPage{v.console(), list.GetTemplates(), queues.GetQueues(), &messagingpb.Template{Id: uuid.NewString()}}, nil
}

func (v *visit) saveTemplate() error {
	template := &messagingpb.Template{Id: v.r.PostFormValue("id"), Title: v.trimmed("titre"), Text: v.trimmed("texte"), Queue: v.r.PostFormValue("file")}
	var faults []fault
	if template.GetTitle() == "" || len([]rune(template.GetTitle())) > 80 {
		faults = append(faults, fault{"title", v.tr("Donnez un titre de 80 caractères au plus.", "Give a title of at most 80 characters.")})
	}
	if template.GetText() == "" || len([]rune(template.GetText())) > 5000 {
		faults = append(faults, fault{"text", v.tr("Écrivez un texte de 5 000 caractères au plus.", "Write a text of at most 5,000 characters.")})
	}
	if faults != nil {
		page, err := v.templatesPage()
		if err != nil {
			return err
		}
		page.Edited = template
		return v.show(http.StatusUnprocessableEntity, "templates", page, faults...)
	}
	_, err := v.agents.SaveTemplate(v.ctx, &messagingpb.SaveTemplateRequest{Id: template.GetId(), Title: template.GetTitle(), Text: template.GetText(), Queue: template.GetQueue()})
	if err != nil {
		return err
	}
	v.flash(v.tr("Le modèle est enregistré.", "The template was saved."))
	return v.redirect("/agent/modeles")
}

func (v *visit) deleteTemplate() error {
	if _, err := v.agents.DeleteTemplate(v.ctx, &messagingpb.DeleteTemplateRequest{Id: v.r.PathValue("id")}); err != nil {
		return err
	}
	v.flash(v.tr("Le modèle est supprimé.", "The template was deleted."))
	return v.redirect("/agent/modeles")
}
