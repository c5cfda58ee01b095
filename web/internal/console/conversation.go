package console

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	notifierpb "github.com/ma-messagerie/messagerie/proto/messagerie/notifier/v1"
	"github.com/ma-messagerie/messagerie/web/internal/desk"
	"github.com/ma-messagerie/messagerie/web/internal/refusal"
	"github.com/ma-messagerie/messagerie/web/internal/render"
	"github.com/ma-messagerie/messagerie/web/internal/writing"
)

// conversationPage is one conversation in an agent's hands, with all that can be done with it.
type conversationPage struct {
	*desk.Page
	// Timeline is what left to the member; Untold is set when nobody can tell.
	Timeline   []render.Entry
	Untold     bool
	Templates  []*messagingpb.Template
	Queues     []*messagingpb.AgentQueue
	Colleagues []*messagingpb.Agent
	Choices    []writing.Option
}

func (v *visitor) showConversation() error {
	c, err := v.conversation(v.R.PathValue("id"))
	if err != nil {
		return err
	}
	opened := desk.Opened(c, v.Session.Supervisor, v.R.FormValue("retour"))
	opened.Begun(v.begun(c.GetId()))
	opened.Typed.Final = v.R.FormValue(desk.Partial) == ""
	page, err := v.conversationPage(opened)
	if err != nil {
		return err
	}
	return v.Show(http.StatusOK, "agent", page)
}

func (v *visitor) conversation(id string) (*messagingpb.Conversation, error) {
	resp, err := v.agents.GetConversation(v.Ctx, &messagingpb.AgentServiceGetConversationRequest{Id: id})
	return resp.GetConversation(), err
}

// conversationPage adds what the forms offer.
func (v *visitor) conversationPage(of *desk.Page) (*conversationPage, error) {
	page := &conversationPage{Page: of}
	templates, err := v.agents.ListTemplates(v.Ctx, &messagingpb.ListTemplatesRequest{Queue: of.GetQueue().GetCode()})
	if err != nil {
		return nil, err
	}
	page.Templates = templates.GetTemplates()
	queues, err := v.agents.ListQueues(v.Ctx, &messagingpb.ListQueuesRequest{})
	if err != nil {
		return nil, err
	}
	page.Queues = queues.GetQueues()
	if page.MayAssign() {
		page.Colleagues = slices.DeleteFunc(v.colleagues(of.GetQueue().GetCode()), func(agent *messagingpb.Agent) bool {
			return agent.GetId() == of.GetClaim().GetAgentId() // has it
		})
	}
	page.Choices = v.Trees.Selections(v.Ctx, of.GetAudience())
	page.Timeline, page.Untold = v.timeline(of.Conversation)
	return page, nil
}

// colleagues are the agents who see a queue, or all; none when nobody can tell.
func (v *visitor) colleagues(queue string) []*messagingpb.Agent {
	resp, err := v.agents.ListAgents(v.Ctx, &messagingpb.ListAgentsRequest{Queue: queue})
	if err != nil {
		return nil
	}
	return resp.GetAgents()
}

// timeline is what left to the member; nobody can tell while the notifier is away.
func (v *visitor) timeline(c *messagingpb.Conversation) (list []render.Entry, untold bool) {
	sent, err := v.deliveries.ListDeliveries(v.Ctx, &notifierpb.AgentServiceListDeliveriesRequest{ConversationId: c.GetId()})
	if err != nil {
		return nil, true
	}
	for _, d := range sent.GetDeliveries() {
		if text := v.Pages.Delivery(d, true); text != "" {
			list = append(list, v.Pages.Entry(d.GetUpdateTime().AsTime(), text))
		}
	}
	slices.SortStableFunc(list, func(a, b render.Entry) int { return a.Time.Compare(b.Time) })
	return list, false
}

// actOn does what an agent asks for and comes back to the conversation, or to the list from
// which it has gone. What else was typed stays.
func (v *visitor) actOn() error {
	id, typed := v.R.PathValue("id"), desk.TypedOf(v.R.PathValue("act"), v.R.PostForm)
	if typed.Act == desk.Reply && typed.Do != "envoyer" {
		return v.prepare(id, typed)
	}
	if err := typed.Ask(v.Ctx, v.agents, id); err != nil {
		return v.notDone(id, typed, err)
	}
	if typed.Do == "renouveler" { // the script's, while the agent writes
		v.W.WriteHeader(http.StatusNoContent)
		return nil
	}
	if err := v.leave(id, typed); err != nil {
		return v.left(id, typed, err)
	}
	v.Flash(typed.Done(v.Pages))
	return v.Redirect(typed.After(id))
}

// prepare shows a reply before it is sent: with a template, or as the member will see it.
func (v *visitor) prepare(id string, typed desk.Typed) error {
	c, err := v.conversation(id)
	if err != nil {
		return err
	}
	again := desk.Again(c, v.Session.Supervisor, typed)
	page, err := v.conversationPage(again)
	if err != nil {
		return err
	}
	var faults []render.Fault
	if again.Newest() != nil {
		faults = append(faults, v.changed(again))
	}
	if typed.Do == "modele" {
		for _, template := range page.Templates {
			if template.GetId() == typed.Template {
				again.Begin(template.GetText(), "fr") // as members are written to
			}
		}
	} else if strings.TrimSpace(typed.Text) == "" {
		faults = append(faults, render.Fault{Field: typed.Field(), Text: v.Tr("Écrivez une réponse.", "Write a reply.")})
	}
	again.Preview = len(faults) == 0 && typed.Do == "apercu"
	// Whoever goes back finds it too. What cannot be saved is on the page that comes.
	if tag, err := v.saveDraft(id, typed.Tag, again.Typed.Text, typed.Note); err == nil {
		again.Typed.Tag = tag
	}
	code := http.StatusOK
	if faults != nil {
		code = http.StatusUnprocessableEntity
	}
	return v.Show(code, "agent", page, faults...)
}

// gonePage says that an act was done whose conversation the agent does not see any more, and has
// what else was typed.
type gonePage struct{ Done, Text, Note, Back string }

// left shows the conversation after an act that was done, or before it is left, with what else
// was typed and could not be kept as a draft.
func (v *visitor) left(id string, typed desk.Typed, err error) error {
	c, readErr := v.conversation(id)
	if done := typed.Done(v.Pages); status.Code(readErr) == codes.NotFound && done != "" {
		// It has gone out of the agent's sight, and its drafts with it.
		text, note := typed.Left()
		return v.Show(http.StatusOK, "gone", gonePage{Done: done, Text: text, Note: note, Back: typed.Back})
	}
	if readErr != nil {
		return err //nolint:nilerr // what was typed is shown with the reason why it is not kept
	}
	text := v.Tr("Ce que vous aviez écrit est ci-dessous, mais n’est pas enregistré.", "What you had written is below, but is not saved.")
	if done := typed.Done(v.Pages); done != "" {
		text = done + " " + v.Tr("Ce que vous aviez écrit d’autre est ci-dessous, mais n’est pas enregistré.", "What else you had written is below, but is not saved.")
	}
	opened := desk.Opened(c, v.Session.Supervisor, typed.Back)
	opened.Typed.Text, opened.Typed.Note = typed.Left()
	opened.Typed.Final = typed.Final
	_, opened.Typed.Tag = v.begun(id) // what another tab has written is replaced next time
	page, readErr := v.conversationPage(opened)
	if readErr != nil {
		return err //nolint:nilerr // as above
	}
	problem := v.ProblemOf(err)
	v.Noted(problem, err)
	field := "text"
	if opened.Typed.Text == "" {
		field = "note"
	}
	code := http.StatusOK
	if status.Code(err) == codes.FailedPrecondition {
		code = http.StatusConflict
	}
	return v.Show(code, "agent", page, render.Fault{Field: field, Text: text})
}

// notDone shows the conversation as it is now, with what was typed in its field again. An
// act without a text, and one whose conversation cannot be read, are fail's.
func (v *visitor) notDone(id string, typed desk.Typed, err error) error {
	if errors.Is(err, desk.ErrNoAct) {
		return refusal.ErrNoPage
	}
	if !typed.Writes() || status.Code(err) == codes.Unauthenticated {
		return err
	}
	c, readErr := v.conversation(id)
	if readErr != nil {
		return err //nolint:nilerr // that is why it was not done
	}
	again := desk.Again(c, v.Session.Supervisor, typed)
	again.Refused(refusal.Reason(err), refusal.Unknown(err))
	page, readErr := v.conversationPage(again)
	if readErr != nil {
		return err //nolint:nilerr // as above
	}
	problem := v.ProblemOf(err)
	v.Noted(problem, err)
	faults := v.FaultsOf(err)
	for i := range faults {
		switch faults[i].Field {
		case "text", "note", "lastMessageId":
			faults[i].Field = typed.Field()
		case "agentId":
			faults[i].Field = "agent"
		case "queue":
			faults[i].Field = "vers"
		}
	}
	switch {
	case desk.Stale(refusal.Reason(err)):
		problem.Code, faults = http.StatusConflict, []render.Fault{v.changed(again)}
	case faults != nil:
		problem.Code = http.StatusUnprocessableEntity
	default:
		faults = []render.Fault{v.AtField(typed.Field(), problem, err)}
	}
	return v.Show(problem.Code, "agent", page, faults...)
}

// changed says who has written since.
func (v *visitor) changed(page *desk.Page) render.Fault {
	newest := page.Newest()
	if newest == nil {
		return render.Fault{Field: page.Typed.Field(), Text: v.Tr("La conversation a changé depuis. Relisez-la, puis envoyez à nouveau : votre texte est ci-dessous.",
			"The conversation has changed since. Read it again, then send again: your text is below.")}
	}
	return render.Fault{Field: page.Typed.Field(), Text: v.Tr("%s a écrit depuis. Lisez ce qui est marqué « Nouveau », puis envoyez à nouveau : votre texte est ci-dessous.",
		"%s has written since. Read what is marked “New”, then send again: your text is below.", v.Pages.Writer(page.Conversation, newest, true))}
}
