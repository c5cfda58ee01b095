package web

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ma-messagerie/messagerie/web/internal/kept"
	"github.com/ma-messagerie/messagerie/web/internal/receipt"
	"github.com/ma-messagerie/messagerie/web/internal/refusal"
	"github.com/ma-messagerie/messagerie/web/internal/render"
	"github.com/ma-messagerie/messagerie/web/internal/session"
	"github.com/ma-messagerie/messagerie/web/internal/writing"
)

// home sends people to where they begin.
func (v *visit) home() error {
	switch {
	case v.session == nil:
		return v.redirect("/connexion")
	case v.session.Realm == session.Agent:
		return v.redirect("/agent")
	}
	return v.redirect("/espace")
}

// static is a page that says the same to all.
func static(tag string) func(*visit) error {
	return func(v *visit) error { return v.show(http.StatusOK, tag, nil) }
}

// showSignIn asks who has to sign in to do so. Whoever is signed in was led here by a
// request that was sent with the cookie of before a renewal (package session), and goes
// straight back.
func (v *visit) showSignIn() error {
	back := session.OwnPath(v.r.FormValue("retour"))
	if v.session != nil && back != "" && v.r.FormValue("pour") == string(v.session.Realm) {
		return v.redirect(back)
	}
	_, isKept := kept.Carried(v.seal, v.r)
	return v.show(http.StatusOK, "signin", map[string]any{
		"Return": back, "Agent": v.r.FormValue("pour") == string(session.Agent),
		"Back": v.r.FormValue("retour") != "", "Kept": back == handBack && isKept,
	})
}

// beginSignIn is a link, not a form: a form may not lead to another site here.
func (v *visit) beginSignIn() error {
	who := session.Realm(v.r.PathValue("pour"))
	if who != session.Member && who != session.Agent {
		return refusal.ErrNoPage
	}
	if err := v.sessions.Begin(v.w, v.r, who, v.r.FormValue("retour")); err != nil {
		return status.Error(codes.Unavailable, err.Error())
	}
	return nil
}

func (v *visit) finishSignIn() error {
	back, err := v.sessions.Finish(v.w, v.r)
	switch {
	case errors.Is(err, session.ErrSignIn):
		return err
	case err != nil:
		return status.Error(codes.Unavailable, err.Error())
	case back == "":
		back = "/"
	}
	return v.redirect(back)
}

func (v *visit) signOut() error {
	v.sessions.End(v.w)
	session.SetCookie(v.w, receipt.Cookie, "", -1)
	kept.Drop(v.w)
	v.session = nil
	return v.redirect("/connexion")
}

func (v *visit) setLanguage() error {
	lang := v.r.PostFormValue("langue")
	if slices.Contains(render.Languages, lang) {
		session.SetCookie(v.w, render.LanguageCookie, lang, 365*24*3600)
	}
	back := session.OwnPath(v.r.PostFormValue("retour"))
	if back == "" {
		back = "/"
	}
	return v.redirect(back)
}

// keepSession says how long the session goes on, and how long it can: a POST has prolonged
// it, a script's GET has not.
func (v *visit) keepSession() error {
	if v.session == nil {
		v.w.WriteHeader(http.StatusUnauthorized)
		return nil
	}
	v.w.Header().Set("Content-Type", "application/json")
	now := time.Now()
	return json.NewEncoder(v.w).Encode(map[string]int{"secondsLeft": int(v.session.Left(now).Seconds()), "secondsMost": int(v.session.Most(now).Seconds())})
}

func (v *visit) showProfiles() error {
	back := session.OwnPath(v.r.FormValue("retour"))
	return v.show(http.StatusOK, "profiles", map[string]any{"Profiles": v.session.Audiences(), "Return": back, "Draft": strings.HasPrefix(back, writing.Drafts)})
}

func (v *visit) setProfile() error {
	if !v.session.Act(v.r.PostFormValue("profil")) {
		return v.redirect("/profil")
	}
	if err := v.sessions.Save(v.w, v.r, v.session); err != nil {
		return err
	}
	back := session.OwnPath(v.r.PostFormValue("retour"))
	if back == "" {
		back = "/espace"
	}
	return v.redirect(back)
}
