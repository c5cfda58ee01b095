package render

import (
	"html/template"
	"slices"
	"strings"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

// Fault is the fault in a field, for templates; nil without one.
func (v View) Fault(field string) *Fault {
	for _, f := range v.Faults {
		if f.Field == field {
			return &f
		}
	}
	return nil
}

// ID is the id of the paragraph that says what is wrong, at the field.
func (f Fault) ID() string { return f.Field + "-fault" }

// Described are the attributes that tie a field, or a group of them, to its hints, by their
// ids, and to what is wrong with it: a screen reader says both with the field's name. Ids are
// this program's own.
func (v View) Described(field, hints string) template.HTMLAttr {
	fault := v.Fault(field)
	if fault == nil {
		if hints == "" {
			return ""
		}
		return template.HTMLAttr(` aria-describedby="` + hints + `"`) //nolint:gosec // not from outside
	}
	if hints != "" {
		hints += " "
	}
	return template.HTMLAttr(` aria-describedby="` + hints + fault.ID() + `" aria-invalid="true"`) //nolint:gosec // as above
}

// french is the attribute of what is French whatever the page's language: what the taxonomy
// and the fund call things. A screen reader then says it with a French voice.
func (p *Pages) french() template.HTMLAttr {
	if p.Lang != "en" {
		return ""
	}
	return ` lang="fr"`
}

// writer is Writer for templates: names are set in their own direction, and the service's is
// French.
func (p *Pages) writer(c *messagingpb.Conversation, m *messagingpb.Message, toAgent bool) template.HTML {
	text, service, name := p.Writer(c, m, toAgent), c.GetQueue().GetLabel(), ""
	if rest, ok := strings.CutSuffix(text, service); ok && service != "" {
		text = rest
	} else {
		service = ""
	}
	for _, known := range []string{m.GetWriter().GetName(), c.GetMember().GetName()} {
		if rest, ok := strings.CutPrefix(text, known); ok && known != "" && name == "" {
			name, text = known, rest
		}
	}
	marked := template.HTML(template.HTMLEscapeString(text)) //nolint:gosec // escaped
	if name != "" {
		marked = Name(name) + marked
	}
	if service != "" {
		marked += p.Label(service)
	}
	return marked
}

// Name is a person's name among a page's own words: in its own direction.
func Name(name string) template.HTML {
	return template.HTML("<bdi>" + template.HTMLEscapeString(name) + "</bdi>") //nolint:gosec // escaped
}

// Label is what the fund calls something, which is French.
func (p *Pages) Label(label string) template.HTML {
	return template.HTML("<span" + string(p.french()) + ">" + template.HTMLEscapeString(label) + "</span>") //nolint:gosec // escaped
}

// Sentence is Tr with marked parts among the arguments; all else is escaped.
func (p *Pages) Sentence(french, english string, args ...any) template.HTML {
	escaped := make([]any, len(args))
	for i, arg := range args {
		escaped[i] = arg
		if text, ok := arg.(string); ok {
			escaped[i] = template.HTMLEscapeString(text)
		}
	}
	return template.HTML(p.Tr(template.HTMLEscapeString(french), template.HTMLEscapeString(english), escaped...)) //nolint:gosec // escaped
}

// tr is Tr for templates, whose arguments may be marked.
func (p *Pages) tr(french, english string, args ...any) any {
	for _, arg := range args {
		if _, ok := arg.(template.HTML); ok {
			return p.Sentence(french, english, args...)
		}
	}
	return p.Tr(french, english, args...)
}

// sections are the addresses in the main navigation, each with the pages that it leads to: the
// first is at the address itself.
var sections = map[string][]string{
	"/espace":             {"space", "contact", "messages"},
	"/messagerie":         {"home", "question", "message", "recap", "confirmation", "conversation", "search"},
	"/preferences":        {"preferences"},
	"/agent":              {"queue", "agent", "find"},
	"/agent/statistiques": {"statistics"},
	"/agent/modeles":      {"templates"},
	"/agent/audit":        {"audit"},
}

// Current is the attribute of a link in the main navigation that says where one is: on the
// page that it leads to, or on one behind it.
func (v View) Current(address string) template.HTMLAttr {
	switch slices.Index(sections[address], v.tag) {
	case -1:
		return ""
	case 0:
		return ` aria-current="page"`
	default:
		return ` aria-current="true"`
	}
}
