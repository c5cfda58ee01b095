package desk

import (
	"net/url"
	"strings"

	"github.com/google/uuid"

	"github.com/ma-messagerie/messagerie/web/internal/found"
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

// fieldOf is the field of the text that an act takes along. One that is not here has none.
var fieldOf = map[string]string{Reply: "text", Close: "text", Note: "note", Transfer: "note", Assign: "note", TakeOver: "note"}

// Typed is what an agent has sent from a conversation's page, to be done, or to be shown again.
// The page has one form with two texts: what the member will read, and what colleagues will. An
// act takes one of them along, or none; the rest stays.
type Typed struct {
	// Act is one of the above; empty on a page that was just opened.
	Act string
	// Do is which button of the act was meant; empty where there is one.
	Do string
	// Key is the idempotency key, Last the id of the last message on the page that it was
	// sent from, Tag that of the draft which the page has seen; empty if there was none.
	Key, Last, Tag string
	// Text is a reply, or a sentence to close with, Note what is for colleagues.
	Text, Note        string
	Final, Additional bool
	// Explained is whether the conversation is to be closed with the text: always where the
	// member has no final reply (see Page.MustExplain).
	Explained    bool
	Queue, Agent string
	Selection    []string
	Template     string
	// Back is the list that the agent came from, a path of this site.
	Back string
}

// TypedOf reads a form of the page.
func TypedOf(act string, form url.Values) Typed {
	t := Typed{
		Act: act, Do: form.Get("faire"), Key: form.Get("cle"), Last: form.Get("dernier"), Tag: form.Get("etag"), Text: form.Get("texte"), Note: form.Get("note"),
		Final: form.Get("definitive") != "", Additional: form.Get("complementaire") != "", Explained: form.Get("expliquer") != "", Queue: form.Get("file"), Agent: form.Get("agent"),
		Selection: selectionOf(form.Get("choix")), Template: form.Get("modele"), Back: BackOf(form.Get("retour")),
	}
	if uuid.Validate(t.Key) != nil {
		t.Key = uuid.NewString()
	}
	if uuid.Validate(t.Last) != nil {
		t.Last = "" // the gateway then says what it misses
	}
	return t
}

// selectionOf are theme, topic and reason: of the list of all, or of what was found by words.
func selectionOf(choice string) []string {
	if theme, topic, reason, ok := found.Choice(choice); ok {
		return []string{theme, topic, reason}
	}
	return append(strings.Split(choice, "/"), "", "")
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

// Writes reports whether something was typed that must not be lost, or is missing.
func (t Typed) Writes() bool { return t.Text != "" || t.Note != "" || fieldOf[t.Act] != "" }

// Field is the id of the field that a fault of the act is about; of one without a text, of who
// has the conversation.
func (t Typed) Field() string {
	if field := fieldOf[t.Act]; field != "" {
		return field
	}
	return "hands"
}

// reads reports whether the act is only done if what it names was the last message.
func (t Typed) reads() bool { return t.Act == Reply || t.Act == Close || t.Act == Transfer }

// Left is what stays when the act is done: the texts that it has not taken along.
func (t Typed) Left() (text, note string) {
	text, note = t.Text, t.Note
	switch {
	case t.Act == Close && !t.Explained:
	case fieldOf[t.Act] == "text":
		text = ""
	case fieldOf[t.Act] == "note":
		note = ""
	}
	return text, note
}

// After is the page that follows the act: the conversation, or the list from which it has
// gone.
func (t Typed) After(id string) string {
	if t.Act == Release || t.Act == Transfer {
		return t.Back
	}
	at := Path(id, t.Back)
	if text, _ := t.Left(); text == "" || t.Final {
		return at
	}
	// The reply that is left was not to be the last: the page that comes does not tick that again.
	if strings.Contains(at, "?") {
		return at + "&" + Partial + "=1"
	}
	return at + "?" + Partial + "=1"
}

// Partial is the parameter of a conversation's page with a reply begun that is not to be the last.
const Partial = "partielle"
