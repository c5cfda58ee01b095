package desk

import (
	"strings"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/web/internal/render"
	"github.com/ma-messagerie/messagerie/web/internal/writing"
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
	return &Page{Conversation: c, Supervisor: supervisor, Typed: Typed{Key: uuid.NewString(), Final: true, Back: BackOf(back)}}
}

// Begun takes in what the agent had begun to write before, but what was sent since: its sending
// was answered by a fault, and it is a draft still.
func (p *Page) Begun(draft *messagingpb.AgentDraft, tag string) {
	since := func(at *timestamppb.Timestamp) bool { return !at.AsTime().Before(draft.GetUpdateTime().AsTime()) }
	p.Typed.Tag, p.Typed.Text, p.Typed.Note = tag, draft.GetText(), draft.GetNote()
	for _, m := range p.GetMessages() {
		if m.GetAuthor() == messagingpb.Author_AGENT && since(m.GetCreateTime()) && writing.Same(m.GetText(), p.Typed.Text) {
			p.Typed.Text = ""
		}
	}
	for _, n := range p.GetNotes() {
		if since(n.GetCreateTime()) && writing.Same(n.GetText(), p.Typed.Note) {
			p.Typed.Note = ""
		}
	}
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

// MayNote reports whether colleagues may be told something.
func (p *Page) MayNote() bool { return !p.GetErased() }

// HasReply and HasNote report whether the page has the field of a text: where it may be sent,
// and where there is one.
func (p *Page) HasReply() bool { return p.MayAct() || strings.TrimSpace(p.Typed.Text) != "" }

// HasNote is like HasReply.
func (p *Page) HasNote() bool { return p.MayNote() || strings.TrimSpace(p.Typed.Note) != "" }

// Last is which message the form says was read: the last on this page, or, if the same act may
// have been done already, the one that it named.
func (p *Page) Last() string {
	if p.repeat && p.Typed.reads() {
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
	switch p.Typed.Act {
	case Assign, TakeOver, Transfer, Close, Recategorise, Release:
		return true
	}
	return false
}

// Others reports whether there is any other action.
func (p *Page) Others() bool { return p.MayAct() || p.MayAssign() || p.MayTakeOver() }

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
