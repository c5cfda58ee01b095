package desk

import (
	"html/template"
	"net/url"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/web/internal/render"
)

// Audit is the address of the audit.
const Audit = "/agent/audit"

// AuditFilter is which entries of the audit are shown: the query of its address.
type AuditFilter struct {
	// Conversation is an id, or a reference as it was typed.
	Conversation string
	// Agent is an id of an agent or machine, whether chosen from a list or typed.
	Agent string
	// Since and Until are days, YYYY-MM-DD, both included.
	Since, Until string
}

// AuditFilterOf reads a query.
func AuditFilterOf(query url.Values) AuditFilter {
	f := AuditFilter{
		Conversation: strings.TrimSpace(query.Get("conversation")), Agent: strings.TrimSpace(query.Get("autre")), Since: query.Get("depuis"), Until: query.Get("jusque"),
	}
	if f.Agent == "" {
		f.Agent = query.Get("agent")
	}
	return f
}

// Page is the address of the page that a token of the gateway names; without one, of the
// first.
func (f AuditFilter) Page(token string) string {
	query := url.Values{}
	for name, value := range map[string]string{"conversation": f.Conversation, "agent": f.Agent, "depuis": f.Since, "jusque": f.Until, "suite": token} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if len(query) == 0 {
		return Audit
	}
	return Audit + "?" + query.Encode()
}

// Here is the address of the first page.
func (f AuditFilter) Here() string { return f.Page("") }

// Request asks for a page of the audit. Fields whose day there is not are named, and left
// out.
func (f AuditFilter) Request(token string) (req *messagingpb.ListAuditEntriesRequest, wrong []string) {
	req = &messagingpb.ListAuditEntriesRequest{ConversationId: f.Conversation, AgentId: f.Agent, PageToken: token}
	day := func(field, given string, days int) *timestamppb.Timestamp {
		if given == "" {
			return nil
		}
		at, err := time.ParseInLocation(time.DateOnly, given, render.Paris)
		if err != nil || at.Year() < 1 {
			wrong = append(wrong, field)
			return nil
		}
		return timestamppb.New(at.AddDate(0, 0, days))
	}
	req.Since, req.Until = day("since", f.Since, 0), day("until", f.Until, 1)
	return req, wrong
}

// AuditLine is an entry with what was done in words.
type AuditLine struct {
	*messagingpb.AuditEntry
	Doing template.HTML
}

// Doing is what an entry of the audit says was done, with what it was done to. Queues and
// agents are called by their names, where these are known.
func Doing(p *render.Pages, entry *messagingpb.AuditEntry, names map[string]string) template.HTML {
	target := entry.GetTarget()
	if name := names[target]; name != "" {
		target = name
	}
	agent := render.Name(target)
	switch entry.GetAction() {
	case messagingpb.AuditEntry_READ:
		return p.Sentence("a lu la conversation", "read the conversation")
	case messagingpb.AuditEntry_FIND_BY_REFERENCE:
		return p.Sentence("a cherché par référence", "searched by reference")
	case messagingpb.AuditEntry_FIND_BY_NUMBER:
		return p.Sentence("a cherché par numéro d’adhérent", "searched by member number")
	case messagingpb.AuditEntry_FIND_OF_MEMBER:
		return p.Sentence("a cherché les autres conversations de la personne", "searched for the person’s other conversations")
	case messagingpb.AuditEntry_CLAIM:
		return p.Sentence("a pris en charge", "claimed it")
	case messagingpb.AuditEntry_RELEASE:
		return p.Sentence("a rendu à la file", "returned it to the queue")
	case messagingpb.AuditEntry_ASSIGN:
		return p.Sentence("a confié à %s", "assigned it to %s", agent)
	case messagingpb.AuditEntry_TAKE_OVER:
		if target == "" {
			return p.Sentence("a repris", "took it over")
		}
		return p.Sentence("a repris à %s", "took it over from %s", agent)
	case messagingpb.AuditEntry_REPLY:
		return p.Sentence("a répondu", "replied")
	case messagingpb.AuditEntry_TRANSFER:
		return p.Sentence("a transféré à %s", "transferred it to %s", p.Label(target))
	case messagingpb.AuditEntry_RECATEGORISE:
		return p.Sentence("a reclassé", "reclassified it")
	case messagingpb.AuditEntry_CLOSE:
		return p.Sentence("a clos", "closed it")
	case messagingpb.AuditEntry_REOPEN:
		return p.Sentence("a rouvert", "reopened it")
	case messagingpb.AuditEntry_NOTE:
		return p.Sentence("a ajouté une note", "added a note")
	case messagingpb.AuditEntry_HOLD:
		return p.Sentence("a mis en conservation", "put it on hold")
	case messagingpb.AuditEntry_UNHOLD:
		return p.Sentence("a levé la conservation", "lifted the hold")
	case messagingpb.AuditEntry_ERASE:
		return p.Sentence("a effacé ses données", "erased their data")
	case messagingpb.AuditEntry_DROP_EVENT:
		return p.Sentence("a abandonné un événement", "dropped an event")
	case messagingpb.AuditEntry_ACTION_UNSPECIFIED:
	}
	return template.HTML(entry.GetAction().String()) //nolint:gosec // a name of the contract
}
