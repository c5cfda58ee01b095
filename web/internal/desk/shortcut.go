package desk

import (
	"net/http"

	"github.com/ma-messagerie/messagerie/web/internal/session"
)

// shortcutsCookie is how an agent has set single-key shortcuts: "non" is off.
const shortcutsCookie = "__Host-raccourcis"

// Shortcuts reports whether single-key shortcuts are on, as they are unless switched off (WCAG
// 2.1.4).
func Shortcuts(r *http.Request) bool {
	cookie, err := r.Cookie(shortcutsCookie)
	return err != nil || cookie.Value != "non"
}

// SetShortcuts switches them on or off, for a year.
func SetShortcuts(w http.ResponseWriter, on bool) {
	value := "non"
	if on {
		value = "oui"
	}
	session.SetCookie(w, shortcutsCookie, value, 365*24*3600)
}
