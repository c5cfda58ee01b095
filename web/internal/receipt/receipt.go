// Package receipt is what the confirmation says of a message that was sent: its reference,
// what leaves and where to, and by when an answer is expected.
//
// # What is promised
//
// It says what is known, and nothing else: an SMS that is switched off or has no number is
// not announced, and where nobody can tell how the member is reached, nothing is. Addresses
// and numbers are shown as far as their owner knows them again, and are kept no further.
//
// A receipt is in a sealed cookie for ten minutes, bound to the session that has sent the
// message, for the confirmation and for reloads of it.
//
// # When it breaks
//
// A provider may refuse what has left; the conversation's page says so. Whoever changes their
// preferences in the seconds before a notification leaves gets it at the new address.
package receipt

import (
	"net/http"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/web/internal/calendar"
	"github.com/ma-messagerie/messagerie/web/internal/render"
	"github.com/ma-messagerie/messagerie/web/internal/session"
)

const (
	// Cookie has the receipt of the last message, sealed.
	Cookie = "__Host-sent"
	// seconds is how long the confirmation can be loaded again from it.
	seconds = 600
)

// Receipt is of one message. None of it changes later.
type Receipt struct {
	// Session binds it to whoever has sent the message.
	Session   string    `json:"s,omitempty"`
	ID        string    `json:"i"`
	Reference string    `json:"r"`
	Time      time.Time `json:"t"`
	Queue     string    `json:"q"`
	// Days is the target answer time in working days, 0 when none is announced.
	Days int `json:"d,omitempty"`
	// Answered is whether it waits for an answer no more.
	Answered bool `json:"-"`
	// Reached is nil when nobody can tell how the member is reached.
	Reached *Reached `json:"h,omitempty"`
}

// Reached is how the member is reached, masked; empty where they are not.
type Reached struct {
	Email string `json:"e,omitempty"`
	// Acknowledged and Announced are the numbers that get an SMS about the message and about
	// a reply.
	Acknowledged string `json:"a,omitempty"`
	Announced    string `json:"n,omitempty"`
}

// Of is the receipt of a conversation that was begun, with its answer time.
func Of(c *messagingpb.Conversation, delay *messagingpb.ExpectedDelay) Receipt {
	return Receipt{
		ID: c.GetId(), Reference: c.GetReference(), Time: c.GetCreateTime().AsTime(), Queue: c.GetQueue().GetLabel(),
		Days: int(delay.GetWorkingDays()), Answered: !Waits(c),
	}
}

// Waits reports whether a conversation's first message waits for its answer.
func Waits(c *messagingpb.Conversation) bool {
	return c.GetStatus() == messagingpb.Status_SENT || c.GetStatus() == messagingpb.Status_IN_PROGRESS
}

// Keep keeps a receipt for the next page of the session. Without it, that page asks the gateway.
func (r Receipt) Keep(w http.ResponseWriter, seal *session.Sealer, id string) {
	r.Session = id
	if sealed, err := seal.Seal(Cookie, r); err == nil && id != "" {
		session.SetCookie(w, Cookie, sealed, seconds)
	}
}

// Kept is the receipt of a conversation that was just begun in this session.
func Kept(r *http.Request, seal *session.Sealer, id, conversation string) (kept Receipt, ok bool) {
	cookie, err := r.Cookie(Cookie)
	if err != nil || !seal.Open(Cookie, cookie.Value, &kept) {
		return kept, false
	}
	return kept, kept.ID == conversation && kept.Session != "" && kept.Session == id
}

// Next is what happens next, in order; nothing once it is answered.
func (r Receipt) Next(p *render.Pages, now time.Time) []string {
	if r.Answered {
		return nil
	}
	var list []string
	if r.Reached != nil {
		list = append(list, r.Reached.acknowledgement(p))
	}
	answer := p.Tr("Nous vous répondons.", "We will reply to you.")
	if expected := calendar.Answer(p, r.Time, r.Days, now); expected != "" {
		answer += " " + expected
	}
	list = append(list, answer)
	if r.Reached != nil {
		list = append(list, r.Reached.announcement(p))
	}
	return list
}

func (to *Reached) acknowledgement(p *render.Pages) string {
	switch {
	case to.Email != "" && to.Acknowledged != "":
		return p.Tr("Un accusé de réception part à %s, et un SMS de confirmation au %s.", "An acknowledgement is on its way to %s, and a confirmation SMS to %s.", to.Email, to.Acknowledged)
	case to.Email != "":
		return p.Tr("Un accusé de réception part à %s.", "An acknowledgement is on its way to %s.", to.Email)
	case to.Acknowledged != "":
		return p.Tr("Un SMS de confirmation part au %s. Nous n’avons pas d’adresse où vous envoyer un accusé de réception.",
			"A confirmation SMS is on its way to %s. We have no e-mail address to send you an acknowledgement.", to.Acknowledged)
	default:
		return p.Tr("Aucun accusé de réception ne part\u00a0: nous n’avons pas d’adresse où vous l’envoyer.", "No acknowledgement is sent: we have no e-mail address for you.")
	}
}

// announcement does not say when an SMS comes: by night it waits for the day.
func (to *Reached) announcement(p *render.Pages) string {
	switch {
	case to.Email != "" && to.Announced != "":
		return p.Tr("Un e-mail vous prévient dès que la réponse est là. Un SMS vous l’annonce aussi.", "An e-mail will tell you as soon as there is a reply. An SMS will tell you, too.")
	case to.Email != "":
		return p.Tr("Un e-mail vous prévient dès que la réponse est là.", "An e-mail will tell you as soon as there is a reply.")
	case to.Announced != "":
		return p.Tr("Un SMS vous annonce la réponse quand elle est là.", "An SMS will tell you when there is a reply.")
	default:
		return p.Tr("Revenez lire la réponse dans Ma messagerie\u00a0: rien ne vous l’annoncera.", "Come back to My messages to read the reply: you will not be told when it is there.")
	}
}

// ReachedBy is how a member is reached by their own choices, and by their account where they
// chose nothing; as the notifier does it.
func ReachedBy(now *messagingpb.Preferences) *Reached {
	to := &Reached{Email: maskedEmail(or(now.GetEmail(), now.GetAccountEmail(), now.GetAccountEmailFault()))}
	phone := maskedPhone(or(now.GetPhone(), now.GetAccountPhone(), now.GetAccountPhoneFault()))
	if now.GetSmsOnAcknowledgement() {
		to.Acknowledged = phone
	}
	if now.GetSmsOnReply() {
		to.Announced = phone
	}
	return to
}

// or is what a member has chosen, else the account's unless it has a fault.
func or(chosen, account, fault string) string {
	if chosen == "" && fault == "" {
		return account
	}
	return chosen
}

// maskedEmail shows the first and the last character before the domain: "j…n@exemple.fr". Of
// one or two characters it shows the first alone.
func maskedEmail(address string) string {
	at := strings.LastIndexByte(address, '@')
	if at < 1 || at == len(address)-1 {
		return "" // nothing can be sent to it
	}
	first, size := utf8.DecodeRuneInString(address[:at])
	last, _ := utf8.DecodeLastRuneInString(address[:at])
	masked := string(first) + "…"
	if utf8.RuneCountInString(address[size:at]) > 1 {
		masked += string(last)
	}
	return masked + address[at:]
}

// e164 is what an SMS can be sent to.
var e164 = regexp.MustCompile(`^\+[1-9][0-9]{6,14}$`)

// maskedPhone shows the last two digits and what a French number begins with, as it is dialled
// there: "06 .. .. .. 78". No line breaks it.
func maskedPhone(number string) string {
	if !e164.MatchString(number) {
		return ""
	}
	last := number[len(number)-2:]
	if strings.HasPrefix(number, "+33") && len(number) == len("+33612345678") {
		return "0" + number[3:4] + "\u00a0..\u00a0..\u00a0..\u00a0" + last
	}
	return number[:3] + "\u00a0..\u00a0" + last
}
