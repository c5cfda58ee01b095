// Package inquiry is a member's search by words for as long as it is not known how it ends.
//
// # What is promised
//
// A search is counted once, when it has ended: with a choice when one of what was found is taken,
// without when its member searches for something else, chooses by theme or goes back to the list.
// Words that are typed further, or shortened, are the same search. What was only typed, and stood
// for less than five seconds, is none.
//
// Until then its words are in a sealed cookie of an hour, for whoever has typed them and nobody
// else who signs in with the same browser.
//
// # When it breaks
//
// Whoever closes the browser after a search, or leaves it alone for an hour, is not counted: the
// figures have fewer searches without a choice than there were. Of searches in two tabs the one
// that began first is counted as without a choice.
package inquiry

import (
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/web/internal/session"
)

const (
	// Cookie has the search under way, sealed.
	Cookie = "__Host-search"
	// seconds is as long as the page of what was found can be loaded again.
	seconds = 3600
	// typing is how long words that were only typed have to stand to be a search.
	typing = 5 * time.Second
)

// Inquiry is a search under way.
type Inquiry struct {
	// Of is the subject of whose it is.
	Of string `json:"o"`
	// Key is the idempotency key under which it is counted.
	Key      string              `json:"k"`
	Audience taxonomypb.Audience `json:"a"`
	Words    string              `json:"w"`
	// Sent is whether the words were sent by the button, and not only typed.
	Sent bool `json:"s,omitempty"`
	// At is when the words were asked for.
	At time.Time `json:"t"`
}

// Under is the search that is under way in a request of somebody.
func Under(seal *session.Sealer, r *http.Request, held *session.Session) (i Inquiry, ok bool) {
	cookie, err := r.Cookie(Cookie)
	if err != nil || !seal.Open(Cookie, cookie.Value, &i) || i.Of != held.Subject || time.Since(i.At) > seconds*time.Second {
		return Inquiry{}, false
	}
	return i, true
}

// New is a search that begins.
func New(held *session.Session, words string, sent bool) Inquiry {
	return Inquiry{Of: held.Subject, Key: uuid.NewString(), Audience: held.Audience, Words: words, Sent: sent, At: time.Now()}
}

// Goes reports whether words are these typed further, or shortened, under the same profile.
func (i *Inquiry) Goes(next Inquiry) bool {
	before, now := strings.ToLower(i.Words), strings.ToLower(next.Words)
	return i.Audience == next.Audience && (strings.HasPrefix(now, before) || strings.HasPrefix(before, now))
}

// Meant reports whether it counts: it was sent, or its words have stood for a while.
func (i *Inquiry) Meant() bool { return i.Sent || time.Since(i.At) >= typing }

// Keep sets the cookie.
func (i *Inquiry) Keep(seal *session.Sealer, w http.ResponseWriter) error {
	sealed, err := seal.Seal(Cookie, i)
	if err != nil {
		return err
	}
	session.SetCookie(w, Cookie, sealed, seconds)
	return nil
}

// Drop takes the cookie away.
func Drop(w http.ResponseWriter) { session.SetCookie(w, Cookie, "", -1) }
