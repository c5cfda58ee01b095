// Package session keeps people signed in, in cookies that this program alone can open.
//
// # What is promised
//
// A session lasts 30 minutes without a page or anything sent, and eight hours at most; what a
// page's scripts listen to does not prolong it. The browser keeps its tokens, sealed with
// AES-256-GCM: a cookie that was not sealed here, or was sealed for another purpose, is no
// session. Every replica with the same key opens what another has sealed, so none has to store
// anything.
//
// A refresh token is used once, even if many requests of a browser find at the same moment
// that the access token is about to expire: they share one exchange, and its result is kept
// for ten seconds for those that were sent with the old cookie. A request that comes even
// later uses the access token while that is valid, and does not write the cookie, in which
// another request has put the new one.
//
// # When it breaks
//
// Whoever has the cookie is that person until it ends: there is no list of sessions to
// strike it from.
//
// Replicas share no memory. Two of them that get requests of one browser in the last
// seconds of its access token exchange the same refresh token twice, and the second exchange
// is refused. That request goes on as said above; if the access token has expired already,
// the person is sent to sign in, and from there straight back if the first answer's cookie
// has arrived by then. To make that rare, a page's scripts do not renew while the token has
// some seconds left. A provider that takes a second use for a theft and ends the session
// needs some seconds of leeway in its settings, or the ingress must keep a browser on one
// replica.
package session

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

// Realm is whether somebody is a member or an agent.
type Realm string

// The realms, each with its OpenID provider.
const (
	Member Realm = "member"
	Agent  Realm = "agent"
)

const (
	// Idle is how long a session lasts without a page.
	Idle = 30 * time.Minute
	// most is how long it lasts in any case.
	most = 8 * time.Hour
	// touchAfter is how old the note of the last page may become before it is
	// written again.
	touchAfter = time.Minute

	// Cookie is the name of a session's first cookie.
	Cookie = "__Host-session"
	// cookieBytes is how much of a sealed session goes into one cookie: browsers
	// keep 4096 bytes with the name and attributes.
	cookieBytes = 3800
	// cookiesMost bounds how many cookies one session takes.
	cookiesMost = 4
)

// Session is who is signed in.
type Session struct {
	// ID is generated at sign-in; empty in a session from before there was one.
	ID    string `json:"i,omitempty"`
	Realm Realm  `json:"r"`
	// Subject is who it is, as their provider names them; empty in a session from before it
	// was kept.
	Subject string `json:"u,omitempty"`
	Name    string `json:"n"`
	// Profiles are a member's; Audience is the one they act as, 0 until chosen.
	Profiles   []string            `json:"p,omitempty"`
	Audience   taxonomypb.Audience `json:"a,omitempty"`
	Supervisor bool                `json:"s,omitempty"`
	// Finder has the right to look for members' conversations without being a supervisor.
	Finder  bool      `json:"m,omitempty"`
	Access  string    `json:"t"`
	Refresh string    `json:"f,omitempty"`
	Expiry  time.Time `json:"e"`
	Begun   time.Time `json:"b"`
	Seen    time.Time `json:"l"`
}

// Over reports whether the session has ended.
func (s *Session) Over(now time.Time) bool {
	return now.Sub(s.Seen) > Idle || now.Sub(s.Begun) > most
}

// Left is how long the session goes on without another page.
func (s *Session) Left(now time.Time) time.Duration {
	return min(s.Seen.Add(Idle).Sub(now), s.Most(now))
}

// Most is how long it goes on whatever its person does.
func (s *Session) Most(now time.Time) time.Duration {
	left := s.Begun.Add(most).Sub(now)
	if s.Refresh == "" { // it ends with its access token, which nothing renews
		left = min(left, s.Expiry.Sub(now))
	}
	return left
}

// byPerson reports whether a request shows that somebody is there: a page that they open, or
// something that is sent. What a page's scripts read behind it shows nothing.
func byPerson(r *http.Request) bool {
	mode := r.Header.Get("Sec-Fetch-Mode")
	return r.Method != http.MethodGet || (mode == "" || mode == "navigate") && r.Header.Get("Accept") != "text/event-stream"
}

// MayFind reports whether an agent may look for conversations by what is quoted. The gateway
// decides; this is what the sign-in says.
func (s *Session) MayFind() bool { return s.Realm == Agent && (s.Supervisor || s.Finder) }

// Audiences are the profiles that the person may act as.
func (s *Session) Audiences() []taxonomypb.Audience {
	var list []taxonomypb.Audience
	for _, name := range s.Profiles {
		if audience := audienceNamed(name); audience != 0 {
			list = append(list, audience)
		}
	}
	return list
}

// Act makes a profile the one that the person acts as. It reports whether it is theirs.
func (s *Session) Act(name string) bool {
	for _, profile := range s.Profiles {
		if audience := audienceNamed(name); profile == name && audience != 0 {
			s.Audience = audience
			return true
		}
	}
	return false
}

func audienceNamed(name string) taxonomypb.Audience {
	return taxonomypb.Audience(taxonomypb.Audience_value[name])
}

// Keeper signs people in and keeps them signed in.
type Keeper struct {
	sealer *Sealer
	public string
	realms map[Realm]*relyingParty
}

// NewKeeper makes the keeper of a site whose address is public, without a final slash.
func NewKeeper(sealer *Sealer, public string, providers map[Realm]Provider) *Keeper {
	k := &Keeper{sealer: sealer, public: public, realms: make(map[Realm]*relyingParty)}
	for name, cfg := range providers {
		k.realms[name] = newRelyingParty(cfg)
	}
	return k
}

// Read returns the session of a request, or nil. It renews the access token when
// that is about to end, and notes that the person is still there if the request shows it.
func (k *Keeper) Read(w http.ResponseWriter, r *http.Request) *Session {
	held := k.Opened(r)
	if held == nil || held.Over(time.Now()) {
		return nil
	}
	seen := byPerson(r) && time.Since(held.Seen) > touchAfter
	changed := seen
	if time.Until(held.Expiry) < margin(r) {
		switch err := k.renew(r.Context(), held); {
		case err == nil:
			changed = true
		case time.Now().Before(held.Expiry):
			// Another request may have put a newer refresh token into the cookie: to
			// write this one's again would end the session at the next renewal.
			return held
		default:
			return nil
		}
	}
	if seen {
		held.Seen = time.Now()
	}
	if changed {
		if err := k.Save(w, r, held); err != nil {
			return nil
		}
	}
	return held
}

// Opened returns the session in a request's cookies as it is, or nil. It may be over.
func (k *Keeper) Opened(r *http.Request) *Session {
	var sealed strings.Builder
	for i := range cookiesMost {
		cookie, err := r.Cookie(cookieName(i))
		if err != nil {
			break
		}
		sealed.WriteString(cookie.Value)
	}
	held := &Session{}
	if sealed.Len() == 0 || !k.sealer.Open(Cookie, sealed.String(), held) {
		return nil
	}
	return held
}

func cookieName(i int) string {
	if i == 0 {
		return Cookie
	}
	return Cookie + "." + strconv.Itoa(i)
}

// Save writes a session into cookies, and takes away those of a longer one.
func (k *Keeper) Save(w http.ResponseWriter, r *http.Request, held *Session) error {
	sealed, err := k.sealer.Seal(Cookie, held)
	if err != nil {
		return err
	}
	if len(sealed) > cookieBytes*cookiesMost {
		return fmt.Errorf("the tokens take %d bytes: more than cookies hold", len(sealed))
	}
	for i := range cookiesMost {
		part := sealed[:min(len(sealed), cookieBytes)]
		sealed = sealed[len(part):]
		_, err := r.Cookie(cookieName(i))
		switch {
		case part != "":
			SetCookie(w, cookieName(i), part, 0)
		case err == nil:
			SetCookie(w, cookieName(i), "", -1)
		}
	}
	return nil
}

// End signs out.
func (k *Keeper) End(w http.ResponseWriter) {
	for i := range cookiesMost {
		SetCookie(w, cookieName(i), "", -1)
	}
}

// SetCookie sets a cookie that ends with the browser (age 0), after so many
// seconds, or now (-1).
func SetCookie(w http.ResponseWriter, name, value string, age int) {
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: age, Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

// OwnPath returns a return address if it is on this site, else nothing.
func OwnPath(back string) string {
	if !strings.HasPrefix(back, "/") || strings.HasPrefix(back, "//") || strings.ContainsAny(back, "\\\r\n\t") {
		return ""
	}
	return back
}
