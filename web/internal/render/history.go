package render

import (
	"fmt"
	"strings"
	"time"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	notifierpb "github.com/ma-messagerie/messagerie/proto/messagerie/notifier/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

// Entry is one line of a timeline.
type Entry struct {
	Time time.Time
	// When is the time as people read it.
	When, Text string
}

// Entry makes a line.
func (p *Pages) Entry(at time.Time, text string) Entry { return Entry{at, Moment(at, p.Lang), text} }

// Audience is a profile in words.
func (p *Pages) Audience(a taxonomypb.Audience) string { return audienceLabel(a, p.Lang) }

// Step is what happened to a conversation, as its member is told; empty for a kind that is
// not known here.
func (p *Pages) Step(kind messagingpb.Step_Kind) string {
	switch kind {
	case messagingpb.Step_RECEIVED:
		return p.Tr("Votre message est reçu.", "Your message was received.")
	case messagingpb.Step_CLAIMED:
		return p.Tr("Un conseiller a pris en charge votre message.", "An adviser is now handling your message.")
	case messagingpb.Step_REPLIED:
		return p.Tr("Nous vous avons répondu.", "We have replied.")
	case messagingpb.Step_FOLLOWED_UP:
		return p.Tr("Vous avez ajouté un message.", "You added a message.")
	case messagingpb.Step_REDIRECTED:
		return p.Tr("Votre demande est orientée vers le bon service.", "Your request has been passed to the right department.")
	case messagingpb.Step_CLOSED:
		return p.Tr("La conversation est close.", "The conversation is closed.")
	case messagingpb.Step_REOPENED:
		return p.Tr("La conversation est rouverte.", "The conversation has been reopened.")
	case messagingpb.Step_KIND_UNSPECIFIED:
	}
	return ""
}

// Delivery tells the truth about one notification in plain words, to the member or to an
// agent; empty for a state that is not known here.
func (p *Pages) Delivery(d *notifierpb.Delivery, toAgent bool) string {
	what := p.Tr("L’accusé de réception par e-mail", "The acknowledgement by e-mail")
	switch {
	case d.GetPurpose() == notifierpb.Purpose_REPLY && d.GetChannel() == notifierpb.Channel_SMS:
		what = p.Tr("Le SMS d’annonce de la réponse", "The SMS about the reply")
	case d.GetPurpose() == notifierpb.Purpose_REPLY:
		what = p.Tr("L’e-mail d’annonce de la réponse", "The e-mail about the reply")
	case d.GetChannel() == notifierpb.Channel_SMS:
		what = p.Tr("Le SMS de confirmation", "The confirmation SMS")
	}
	pick := func(french, english, agentFrench, agentEnglish string) string {
		if toAgent {
			return p.Tr(agentFrench, agentEnglish, what)
		}
		return p.Tr(french, english, what)
	}
	switch d.GetState() {
	case notifierpb.DeliveryState_PENDING:
		return p.Tr("%s va partir.", "%s will be sent.", what)
	case notifierpb.DeliveryState_ACCEPTED:
		return p.Tr("%s est parti.", "%s has been sent.", what)
	case notifierpb.DeliveryState_DELIVERED:
		return pick("%s vous est parvenu.", "%s has reached you.", "%s est parvenu à l’adhérent.", "%s has reached the member.")
	case notifierpb.DeliveryState_BOUNCED, notifierpb.DeliveryState_REFUSED:
		return pick("%s n’a pas pu vous parvenir : vérifiez vos coordonnées dans vos préférences.", "%s could not reach you: check your contact details in your preferences.",
			"%s n’a pas pu parvenir à l’adhérent.", "%s could not reach the member.")
	case notifierpb.DeliveryState_COMPLAINED:
		return pick("%s a été classé comme indésirable par votre messagerie.", "%s was marked as spam by your mail provider.",
			"%s a été classé comme indésirable par la messagerie de l’adhérent.", "%s was marked as spam by the member’s mail provider.")
	case notifierpb.DeliveryState_EXPIRED:
		if d.GetReason() == "OUTCOME_UNKNOWN" {
			return p.Tr("%s est peut-être parti : nous n’en avons pas la confirmation.", "%s may have been sent: we have no confirmation.", what)
		}
		return p.Tr("%s n’a pas pu partir à temps.", "%s could not be sent in time.", what)
	case notifierpb.DeliveryState_SUPPRESSED:
		switch d.GetReason() {
		case "NO_EMAIL", "EMAIL_INVALID", "NO_PHONE", "PHONE_INVALID":
			return p.Tr("%s n’est pas parti : nous n’avons pas de coordonnées valables.", "%s was not sent: we have no valid contact details.", what)
		}
		return p.Tr("%s n’est pas parti.", "%s was not sent.", what)
	case notifierpb.DeliveryState_DELIVERY_STATE_UNSPECIFIED:
	}
	return ""
}

// Writer is who wrote a message, as its reader should see it: the member is "you" to
// themselves, and to agents what their account calls them. An agent is whom the fund names,
// with the service that answers, or the service alone where the fund names nobody; a machine
// is said to be one.
func (p *Pages) Writer(c *messagingpb.Conversation, m *messagingpb.Message, toAgent bool) string {
	name := m.GetWriter().GetName()
	switch {
	case m.GetWriter().GetKind() == messagingpb.Writer_MACHINE:
		if name == "" {
			name = c.GetQueue().GetLabel()
		}
		return p.Tr("Réponse automatique : %s", "Automatic reply: %s", name)
	case m.GetAuthor() == messagingpb.Author_MEMBER && !toAgent:
		return p.Tr("Vous", "You")
	case m.GetAuthor() == messagingpb.Author_MEMBER && c.GetMember().GetName() != "":
		return c.GetMember().GetName()
	case m.GetAuthor() == messagingpb.Author_MEMBER:
		return p.Tr("L’adhérent", "The member")
	case name == "":
		return c.GetQueue().GetLabel()
	case name == c.GetQueue().GetLabel() || toAgent || redirected(c, m):
		return name
	default:
		return name + ", " + c.GetQueue().GetLabel()
	}
}

// redirected reports whether the conversation has gone to another service since a message,
// or may have: its writer is not of the one that has it now.
func redirected(c *messagingpb.Conversation, m *messagingpb.Message) bool {
	for _, step := range c.GetSteps() {
		if step.GetKind() == messagingpb.Step_REDIRECTED && !step.GetTime().AsTime().Before(m.GetCreateTime().AsTime()) {
			return true
		}
	}
	return false
}

// Text is a member's conversation as plain text, under the labels of its selection.
func (p *Pages) Text(c *messagingpb.Conversation, labels []string) string {
	var out strings.Builder
	fmt.Fprintf(&out, "%s %s\n%s\n%s %s\n\n", p.Tr("Conversation", "Conversation"), c.GetReference(), strings.Join(labels, " – "), p.Tr("État :", "Status:"), StatusLabel(c.GetStatus(), p.Lang))
	for _, m := range c.GetMessages() {
		fmt.Fprintf(&out, "%s, %s\n\n%s\n\n---\n\n", p.Writer(c, m, false), Moment(m.GetCreateTime().AsTime(), p.Lang), m.GetText())
	}
	return out.String()
}
