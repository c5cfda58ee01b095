package desk

import (
	"net/url"
	"strings"

	"github.com/google/uuid"

	"github.com/ma-messagerie/messagerie/web/internal/session"
)

// What can be done with a conversation, by the last part of the address.
const (
	Claim        = "prendre"
	Release      = "relacher"
	Assign       = "confier"
	TakeOver     = "reprendre"
	Transfer     = "transfert"
	Recategorise = "reclasser"
	Reply        = "repondre"
	Note         = "noter"
	Close        = "clore"
	Reopen       = "rouvrir"
)

// fieldOf is the field that the text of an act is typed into. One that is not here has none.
var fieldOf = map[string]string{
	Reply: "text", Note: "note", Close: "phrase", Transfer: "mot-transfert", Assign: "mot-confier", TakeOver: "mot-reprendre",
}

// Typed is what an agent has sent from a conversation's page, to be done, or to be shown again.
type Typed struct {
	// Act is one of the above; empty on a page that was just opened.
	Act string
	// Do is which button of the form was meant; empty where there is one.
	Do string
	// Key is the idempotency key, Last the id of the last message on the page that it was
	// sent from.
	Key, Last string
	// Text is what was typed: a reply, a note, a closing sentence.
	Text              string
	Final, Additional bool
	Queue, Agent      string
	Selection         []string
	Template          string
	// Back is the list that the agent came from, a path of this site.
	Back string
}

// TypedOf reads a form of the page.
func TypedOf(act string, form url.Values) Typed {
	t := Typed{
		Act: act, Do: form.Get("faire"), Key: form.Get("cle"), Last: form.Get("dernier"), Text: form.Get("texte"),
		Final: form.Get("definitive") != "", Additional: form.Get("complementaire") != "", Queue: form.Get("file"), Agent: form.Get("agent"),
		Selection: append(strings.Split(form.Get("choix"), "/"), "", ""), Template: form.Get("modele"), Back: BackOf(form.Get("retour")),
	}
	if uuid.Validate(t.Key) != nil {
		t.Key = uuid.NewString()
	}
	if uuid.Validate(t.Last) != nil {
		t.Last = "" // the gateway then says what it misses
	}
	return t
}

// BackOf is the list to return to, if it is an address of this site; else the queue.
func BackOf(given string) string {
	if back := session.OwnPath(given); back != "" {
		return back
	}
	return Queue
}

// Path is the address of a conversation's page, from which one returns to back.
func Path(id, back string) string {
	at := "/agent/conversations/" + url.PathEscape(id)
	if back == "" || back == Queue {
		return at
	}
	return at + "?" + url.Values{"retour": {back}}.Encode()
}

// Writes reports whether the act has a text, which must not be lost when it is refused.
func (t Typed) Writes() bool { return fieldOf[t.Act] != "" }

// Field is the id of the text's field.
func (t Typed) Field() string { return fieldOf[t.Act] }

// After is the page that follows the act: the conversation, or the list from which it has
// gone.
func (t Typed) After(id string) string {
	if t.Act == Release || t.Act == Transfer {
		return t.Back
	}
	return Path(id, t.Back)
}
