package console

import (
	"net/http"
	"slices"

	"github.com/google/uuid"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/web/internal/desk"
	"github.com/ma-messagerie/messagerie/web/internal/refusal"
	"github.com/ma-messagerie/messagerie/web/internal/render"
)

// auditPage is who read, looked for or did what.
type auditPage struct {
	desk.AuditFilter
	Entries []desk.AuditLine
	Unusual []*messagingpb.UnusualReader
	Agents  []*messagingpb.Agent
	// Chosen is whether the agent is one of these.
	Chosen bool
	// Next is the address of the next page; empty on the last.
	Next string
}

// filterAudit leads to the entries that a form asks for. It is a POST, since a number that is
// typed by mistake must not be in an address.
func (v *visitor) filterAudit() error {
	filter := desk.AuditFilterOf(v.R.PostForm)
	conversation, faults := v.named(filter.Conversation)
	if faults != nil {
		return v.Show(http.StatusUnprocessableEntity, "audit", v.auditPage(filter), faults...)
	}
	filter.Conversation = conversation
	return v.Redirect(filter.Page(""))
}

func (v *visitor) auditPage(filter desk.AuditFilter) auditPage {
	page := auditPage{AuditFilter: filter, Agents: v.colleagues("")}
	page.Chosen = slices.ContainsFunc(page.Agents, func(agent *messagingpb.Agent) bool { return agent.GetId() == filter.Agent })
	return page
}

func (v *visitor) showAudit() error {
	page := v.auditPage(desk.AuditFilterOf(v.R.Form))
	names := make(map[string]string)
	for _, agent := range page.Agents {
		names[agent.GetId()] = agent.GetName()
	}
	var faults []render.Fault
	req, wrong := page.Request(v.R.FormValue("suite"))
	for _, field := range wrong {
		faults = append(faults, render.Fault{Field: field, Text: v.Tr("Donnez une date, comme 2026-11-23.", "Enter a date, such as 2026-11-23.")})
	}
	if faults != nil {
		return v.Show(http.StatusUnprocessableEntity, "audit", page, faults...)
	}
	list, err := v.agents.ListAuditEntries(v.Ctx, req)
	if faults = v.FaultsOf(err); faults != nil {
		return v.Show(http.StatusUnprocessableEntity, "audit", page, faults...)
	}
	if err != nil {
		return err
	}
	if queues, err := v.agents.ListQueues(v.Ctx, &messagingpb.ListQueuesRequest{}); err == nil { // without it, they are called by their codes
		for _, queue := range queues.GetQueues() {
			names[queue.GetCode()] = queue.GetLabel()
		}
	}
	for _, entry := range list.GetEntries() {
		page.Entries = append(page.Entries, desk.AuditLine{AuditEntry: entry, Doing: desk.Doing(v.Pages, entry, names)})
	}
	page.Unusual = list.GetUnusualReaders()
	if next := list.GetNextPageToken(); next != "" {
		page.Next = page.Page(next)
	}
	return v.Show(http.StatusOK, "audit", page)
}

// named returns the id of a conversation that is named by it or by its reference.
func (v *visitor) named(given string) (id string, faults []render.Fault) {
	if given == "" || uuid.Validate(given) == nil {
		return given, nil
	}
	resp, err := v.agents.FindConversations(v.Ctx, &messagingpb.FindConversationsRequest{Reference: given})
	if found := resp.GetConversations(); err == nil && len(found) == 1 {
		return found[0].GetId(), nil
	}
	text := v.Tr("Aucune conversation n’a cette référence.", "No conversation has this reference.")
	if err != nil && refusal.Reason(err) != "REFERENCE_INVALID" {
		problem := v.ProblemOf(err)
		v.Noted(problem, err)
		text = problem.Text
	}
	return "", []render.Fault{{Field: "conversation", Text: text}}
}
