package web

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ma-messagerie/messagerie/web/internal/inquiry"
	"github.com/ma-messagerie/messagerie/web/internal/kept"
	"github.com/ma-messagerie/messagerie/web/internal/receipt"
	"github.com/ma-messagerie/messagerie/web/internal/refusal"
	"github.com/ma-messagerie/messagerie/web/internal/session"
	"github.com/ma-messagerie/messagerie/web/internal/visit"
)

// home sends people to where they begin.
func home(v *visit.Visit) error {
	switch {
	case v.Session == nil:
		return v.Redirect("/connexion")
	case v.Session.Realm == session.Agent:
		return v.Redirect("/agent")
	}
	return v.Redirect("/espace")
}

// showSignIn asks who has to sign in to do so. Whoever is signed in was led here by a
// request that was sent with the cookie of before a renewal (package session), and goes
// straight back.
func showSignIn(v *visit.Visit) error {
	back := session.OwnPath(v.R.FormValue("retour"))
	if v.Session != nil && back != "" && v.R.FormValue("pour") == string(v.Session.Realm) {
		return v.Redirect(back)
	}
	_, isKept := kept.Carried(v.Seal, v.R)
	return v.Show(http.StatusOK, "signin", map[string]any{
		"Return": back, "Agent": v.R.FormValue("pour") == string(session.Agent),
		"Back": v.R.FormValue("retour") != "", "Kept": isKept,
	})
}

// beginSignIn is a link, not a form: a form may not lead to another site here.
func beginSignIn(v *visit.Visit) error {
	who := session.Realm(v.R.PathValue("pour"))
	if who != session.Member && who != session.Agent {
		return refusal.ErrNoPage
	}
	if err := v.Sessions.Begin(v.W, v.R, who, v.R.FormValue("retour")); err != nil {
		return status.Error(codes.Unavailable, err.Error())
	}
	return nil
}

func finishSignIn(v *visit.Visit) error {
	back, err := v.Sessions.Finish(v.W, v.R)
	switch {
	case errors.Is(err, session.ErrSignIn):
		return err
	case err != nil:
		return status.Error(codes.Unavailable, err.Error())
	case back == "":
		back = "/"
	}
	// Whichever way they have come, by the browser's Back or by another link.
	if _, waits := kept.Carried(v.Seal, v.R); waits {
		back = visit.HandBack
	}
	return v.Redirect(back)
}

func signOut(v *visit.Visit) error {
	v.Sessions.End(v.W)
	session.SetCookie(v.W, receipt.Cookie, "", -1)
	kept.Drop(v.W)
	inquiry.Drop(v.W)
	v.Session = nil
	return v.Redirect("/connexion")
}

// setLanguage is for pages where one types nothing but the words of a list's search, which has
// them in its address; where one writes, see visit.Visit.Translate.
func setLanguage(v *visit.Visit) error {
	back := v.Speak(v.R.PostFormValue(kept.Language))
	if words := v.R.PostFormValue("q"); words != "" {
		page, err := url.Parse(back)
		if err != nil {
			return v.Redirect(back)
		}
		query := page.Query()
		query.Set("q", words)
		page.RawQuery = query.Encode()
		back = page.String()
	}
	return v.Redirect(back)
}

// keepSession says how long the session goes on, and how long it can: a POST has prolonged
// it, a script's GET has not.
func keepSession(v *visit.Visit) error {
	if v.Session == nil {
		v.W.WriteHeader(http.StatusUnauthorized)
		return nil
	}
	v.W.Header().Set("Content-Type", "application/json")
	now := time.Now()
	return json.NewEncoder(v.W).Encode(map[string]int{"secondsLeft": int(v.Session.Left(now).Seconds()), "secondsMost": int(v.Session.Most(now).Seconds())})
}
