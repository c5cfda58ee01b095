package web

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

// agentPage is one conversation in an agent's hands, with all that can be done with it.
type agentPage struct {
	console
	*desk.Page
	Timeline   []render.Entry
	Templates  []*messagingpb.Template
	Queues     []*messagingpb.AgentQueue
	Colleagues []*messagingpb.Agent
	Choices    []writing.Option
}

func (v *visit) showForAgent() error {
	c, err := v.agentConversation(v.r.PathValue("id"))
	if err != nil {
		return err
	}
	page, err := v.agentPage(desk.Opened(c, v.session.Supervisor, v.r.FormValue("retour")))
	if err != nil {
		return err
	}
	return v.show(http.StatusOK, "agent", page)
}

func (v *visit) agentConversation(id string) (*messagingpb.Conversation, error) {
	resp, err := v.agents.GetConversation(v.ctx, &messagingpb.AgentServiceGetConversationRequest{Id: id})
	return resp.GetConversation(), err
}

// agentPage adds what the forms offer.
func (v *visit) agentPage(of *desk.Page) (*agentPage, error) {
	page := &agentPage{console: v.console(), Page: of}
	templates, err := v.agents.ListTemplates(v.ctx, &messagingpb.ListTemplatesRequest{Queue: of.GetQueue().GetCode()})
	if err != nil {
		return nil, err
	}
	page.Templates = templates.GetTemplates()
	queues, err := v.agents.ListQueues(v.ctx, &messagingpb.ListQueuesRequest{})
	if err != nil {
		return nil, err
	}
	page.Queues = queues.GetQueues()
	if page.Shows(desk.Assign) {
		page.Colleagues = slices.DeleteFunc(v.colleagues(of.GetQueue().GetCode()), func(agent *messagingpb.Agent) bool {
			return agent.GetId() == of.GetClaim().GetAgentId() // has it
		})
	}
	page.Choices = v.trees.Selections(v.ctx, of.GetAudience())
	page.Timeline = v.agentTimeline(of.Conversation)
	return page, nil
}

// colleagues are the agents who see a queue, or all; none when nobody can tell.
func (v *visit) colleagues(queue string) []*messagingpb.Agent {
	resp, err := v.agents.ListAgents(v.ctx, &messagingpb.ListAgentsRequest{Queue: queue})
	if err != nil {
		return nil
	}
	return resp.GetAgents()
}

// agentTimeline is what left to the member.
func (v *visit) agentTimeline(c *messagingpb.Conversation) []render.Entry {
	sent, err := v.timelines.ListDeliveries(v.ctx, &notifierpb.AgentServiceListDeliveriesRequest{ConversationId: c.GetId()})
	if err != nil {
		return nil
	}
	var list []render.Entry
	for _, d := range sent.GetDeliveries() {
		if text := v.pages.Delivery(d, true); text != "" {
			list = append(list, v.pages.Entry(d.GetUpdateTime().AsTime(), text))
		}
	}
	return list
}

// actOn does what an agent asks for and comes back to the conversation, or to the list from
// which it has gone.
func (v *visit) actOn() error {
	id, typed := v.r.PathValue("id"), desk.TypedOf(v.r.PathValue("act"), v.r.PostForm)
	if typed.Act == desk.Reply && typed.Do != "envoyer" {
		return v.prepare(id, typed)
	}
	if err := typed.Ask(v.ctx, v.agents, id); err != nil {
		return v.notDone(id, typed, err)
	}
	if typed.Do == "renouveler" { // the script's, while the agent writes
		v.w.WriteHeader(http.StatusNoContent)
		return nil
	}
	v.flash(typed.Done(v.pages))
	return v.redirect(typed.After(id))
}

// prepare shows a reply before it is sent: with a template, or as the member will see it.
func (v *visit) prepare(id string, typed desk.Typed) error {
	c, err := v.agentConversation(id)
	if err != nil {
		return err
	}
	again := desk.Again(c, v.session.Supervisor, typed)
	page, err := v.agentPage(again)
	if err != nil {
		return err
	}
	var faults []fault
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
		faults = append(faults, fault{Field: typed.Field(), Text: v.tr("Écrivez une réponse.", "Write a reply.")})
	}
	again.Preview = len(faults) == 0 && typed.Do == "apercu"
	code := http.StatusOK
	if faults != nil {
		code = http.StatusUnprocessableEntity
	}
	return v.show(code, "agent", page, faults...)
}

// notDone shows the conversation as it is now, with what was typed in its field again. An
// act without a text, and one whose conversation cannot be read, are fail's.
func (v *visit) notDone(id string, typed desk.Typed, err error) error {
	if errors.Is(err, desk.ErrNoAct) {
		return refusal.ErrNoPage
	}
	if !typed.Writes() || status.Code(err) == codes.Unauthenticated {
		return err
	}
	c, readErr := v.agentConversation(id)
	if readErr != nil {
		return err //nolint:nilerr // that is why it was not done
	}
	again := desk.Again(c, v.session.Supervisor, typed)
	again.Refused(refusal.Reason(err), refusal.Unknown(err))
	page, readErr := v.agentPage(again)
	if readErr != nil {
		return err //nolint:nilerr // as above
	}
	problem := v.problemOf(err)
	v.noted(problem, err)
	faults := v.faultsOf(err)
	for i := range faults {
		switch faults[i].Field {
		case "text", "note":
			faults[i].Field = typed.Field()
		case "agentId":
			faults[i].Field = "agent"
		case "queue":
			faults[i].Field = "vers"
		}
	}
	switch {
	case desk.Stale(refusal.Reason(err)):
		problem.Code, faults = http.StatusConflict, []fault{v.changed(again)}
	case faults != nil:
		problem.Code = http.StatusUnprocessableEntity
	default:
		faults = []fault{v.atField(typed.Field(), problem, err)}
	}
	return v.show(problem.Code, "agent", page, faults...)
}

// changed says who has written since.
func (v *visit) changed(page *desk.Page) fault {
	newest := page.Newest()
	if newest == nil {
		return fault{Field: page.Typed.Field(), Text: v.tr("La conversation a changé depuis. Relisez-la, puis envoyez à nouveau : votre texte est conservé.",
			"The conversation has changed since. Read it again, then send again: your text is kept.")}
	}
	return fault{Field: page.Typed.Field(), Text: v.tr("%s a écrit depuis. Lisez ce qui est marqué « Nouveau », puis envoyez à nouveau : votre texte est conservé.",
		"%s has written since. Read what is marked “New”, then send again: your text is kept.", v.pages.Writer(page.Conversation, newest, true))}
}
