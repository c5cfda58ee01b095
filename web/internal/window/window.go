// Package window decides when the guide's window of online services opens, and names what
// is counted about it.
//
// # What is promised
//
// The window opens once for each time that a selection is made: on the page of the message
// that follows it, even if its member has to sign in in between. It has then been shown, and
// does not come back when the page is loaded again, by the back button, in the other language
// or after a sign-in. Whoever makes a selection anew is asked anew.
//
// That it is still to be opened is in a cookie of ten minutes, which names the draft and its
// selection by a digest and says nothing else about them; the page that opens it takes the
// cookie away. The address of the page is the same with the window and without.
//
// # When it breaks
//
// Of two selections that are made in two tabs at the same moment, one opens no window: its
// member writes without having been asked. Without cookies nobody is signed in either.
package window

import (
	"net/http"
	"strings"

	"github.com/google/uuid"

	"github.com/ma-messagerie/messagerie/web/internal/session"
	"github.com/ma-messagerie/messagerie/web/internal/writing"
)

const (
	// Cookie has the key of the selection whose window is still to be opened.
	Cookie = "__Host-window"
	// seconds is how long it may take to come to the page, with a sign-in in between.
	seconds = 600
)

// Key is the same for a draft, its selection and what else is given, and for no other.
func Key(d *writing.Draft, parts ...string) string {
	all := append([]string{d.GetId(), d.GetTheme(), d.GetTopic(), d.GetReason()}, parts...)
	return uuid.NewSHA1(uuid.NameSpaceOID, []byte(strings.Join(all, "\x00"))).String()
}

// Due makes the draft's next page of the message open the window.
func Due(w http.ResponseWriter, d *writing.Draft) {
	session.SetCookie(w, Cookie, Key(d), seconds)
}

// Opens reports whether this request's page is to open it, and that only once: a page that a
// script reads behind the member's back does not count.
func Opens(w http.ResponseWriter, r *http.Request, d *writing.Draft) bool {
	if mode := r.Header.Get("Sec-Fetch-Mode"); r.Method != http.MethodGet || mode != "" && mode != "navigate" {
		return false
	}
	cookie, err := r.Cookie(Cookie)
	if err != nil || cookie.Value != Key(d) {
		return false
	}
	session.SetCookie(w, Cookie, "", -1)
	return true
}
