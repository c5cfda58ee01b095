package desk

import (
	"strings"

	"github.com/google/uuid"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/web/internal/render"
)

// Page is a conversation in an agent's hands, with what was typed about it.
type Page struct {
	*messagingpb.Conversation
	Typed Typed
	// Supervisor is whether the agent is one.
	Supervisor bool
	// Preview shows the reply as the member will see it.
	Preview bool
	// New are the messages that have come since the page that was typed on.
	New map[string]bool
	// answered is set when a reply was refused because there is one.
	answered bool
	// repeat keeps the key and the last message as they were sent.
	repeat bool
}

// Opened is a conversation as it is when its page is opened.
func Opened(c *messagingpb.Conversation, supervisor bool, back string) *Page {
	return &Page{Conversation: c, Supervisor: supervisor, Typed: Typed{Final: true, Back: BackOf(back)}}
}

// Again is a conversation as it is now, with what was typed on an earlier page of it.
func Again(c *messagingpb.Conversation, supervisor bool, typed Typed) *Page {
	again := &Page{Conversation: c, Supervisor: supervisor, Typed: typed, New: make(map[string]bool)}
	known := typed.Last
	for _, message := range c.GetMessages() {
		if message.GetId() == known {
			clear(again.New)
			continue
		}
		again.New[message.GetId()] = true
	}
	return again
}

// Refused takes in why an act was not done, and whether it may have been done all the same.
func (p *Page) Refused(reason string, unknown bool) {
	p.answered = reason == "ALREADY_ANSWERED"
	switch {
	case unknown:
		p.repeat = true
	case Stale(reason) || p.answered || reason == "IDEMPOTENCY_KEY_REUSED":
		p.Typed.Key = uuid.NewString()
	}
}

// Stale reports whether a refusal says that a conversation is not as it was on the page.
func Stale(reason string) bool {
	return reason == "CONVERSATION_CHANGED" || reason == "LAST_MESSAGE_REQUIRED"
}

// Newest is the last message that has come since; nil if none has.
func (p *Page) Newest() *messagingpb.Message {
	messages := p.GetMessages()
	for i := len(messages) - 1; i >= 0; i-- {
		if p.New[messages[i].GetId()] {
			return messages[i]
		}
	}
	return nil
}

// Labels are the levels of the selection, as far as it was made.
func (p *Page) Labels() []string { return Labels(p.Conversation) }

// Labels are the levels of a conversation's selection, as far as it was made.
func Labels(c *messagingpb.Conversation) []string {
	var list []string
	for _, choice := range []*messagingpb.Choice{c.GetTheme(), c.GetTopic(), c.GetReason()} {
		if choice != nil {
			list = append(list, choice.GetLabel())
		}
	}
	return list
}

// Selection is the code of the selection among those of package taxonomy.
func (p *Page) Selection() string {
	code := p.GetTheme().GetCode()
	for _, below := range []string{p.GetTopic().GetCode(), p.GetReason().GetCode()} {
		if below != "" {
			code += "/" + below
		}
	}
	return code
}

// Here is the page's address.
func (p *Page) Here() string { return Path(p.GetId(), p.Typed.Back) }

// open reports whether something may still be written.
func (p *Page) open() bool {
	return p.GetStatus() != messagingpb.Status_CLOSED && !p.GetErased()
}

// Held reports whether a colleague holds it.
func (p *Page) Held() bool { return p.GetClaim() != nil && !p.GetClaim().GetMine() }

// MayAct reports whether the agent may answer: nobody else holds the conversation.
func (p *Page) MayAct() bool { return p.open() && !p.Held() }

// MayAssign reports whether the agent may give it to a colleague.
func (p *Page) MayAssign() bool {
	return p.open() && (p.Supervisor || p.GetClaim().GetMine())
}

// MayTakeOver reports whether the agent may take it from a colleague.
func (p *Page) MayTakeOver() bool { return p.open() && p.Supervisor && p.Held() }

// MayReopen reports whether it has ended in a way that can be taken back.
func (p *Page) MayReopen() bool {
	return !p.GetErased() && (p.GetStatus() == messagingpb.Status_CLOSED || p.GetStatus() == messagingpb.Status_ANSWERED)
}

// Shows reports whether the form of an act is on the page: where it may be done, and where a
// text was typed into it.
func (p *Page) Shows(act string) bool {
	if p.Typed.Act == act && strings.TrimSpace(p.Typed.Text) != "" {
		return true
	}
	switch act {
	case Assign:
		return p.MayAssign()
	case TakeOver:
		return p.MayTakeOver()
	case Note:
		return !p.GetErased()
	default:
		return p.MayAct()
	}
}

// Words are what was typed into the form of an act.
func (p *Page) Words(act string) string {
	if p.Typed.Act != act {
		return ""
	}
	return p.Typed.Text
}

// KeyOf is the idempotency key of the form of an act.
func (p *Page) KeyOf(act string) string {
	if p.Typed.Act != act || p.Typed.Key == "" {
		return uuid.NewString()
	}
	return p.Typed.Key
}

// LastOf is which message the form of an act says was read: the last on this page, or, if the
// same act may have been done already, the one that it named.
func (p *Page) LastOf(act string) string {
	if p.repeat && p.Typed.Act == act {
		return p.Typed.Last
	}
	return p.GetLastMessageId()
}

// Another reports whether a reply is one more beside a final one.
func (p *Page) Another() bool {
	return p.GetAnswered() || p.answered || p.repeat && p.Typed.Act == Reply && p.Typed.Additional
}

// Answer is the final answer that there is; nil if it is not among the messages.
func (p *Page) Answer() *messagingpb.Message {
	messages := p.GetMessages()
	for i := len(messages) - 1; i >= 0; i-- {
		if messages[i].GetFinal() && messages[i].GetAuthor() == messagingpb.Author_AGENT {
			return messages[i]
		}
	}
	return nil
}

// MustExplain reports whether closing it needs a sentence for the member.
func (p *Page) MustExplain() bool { return !p.GetAnswered() }

// Unfolded reports whether what was sent came from among the other actions.
func (p *Page) Unfolded() bool {
	return p.Typed.Writes() && p.Typed.Act != Reply && p.Typed.Act != Note
}

// Others reports whether there is any other action.
func (p *Page) Others() bool {
	for _, act := range []string{Assign, TakeOver, Transfer, Close} {
		if p.Shows(act) {
			return true
		}
	}
	return false
}

// Begin puts a template into the reply: before it there is what was typed.
func (p *Page) Begin(template, lang string) {
	filled := Filled(template, p.Conversation, lang)
	if begun := strings.TrimSpace(p.Typed.Text); begun != "" {
		filled = begun + "\n\n" + filled
	}
	p.Typed.Text = filled
}

// Filled is a template's text with its variables replaced.
func Filled(text string, c *messagingpb.Conversation, lang string) string {
	return strings.NewReplacer(
		"{{reference}}", c.GetReference(), "{{theme}}", c.GetTheme().GetLabel(), "{{topic}}", c.GetTopic().GetLabel(), "{{reason}}", c.GetReason().GetLabel(),
		"{{date}}", render.LongDay(c.GetCreateTime().AsTime(), lang),
	).Replace(text)
}
