package member

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/google/uuid"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/web/internal/render"
	"github.com/ma-messagerie/messagerie/web/internal/session"
	"github.com/ma-messagerie/messagerie/web/internal/writing"
)

func (v *visitor) showProfiles() error { return v.showProfilesAgain(http.StatusOK) }

// showProfilesAgain shows them with what is to be corrected. The field is the first of them.
func (v *visitor) showProfilesAgain(code int, faults ...render.Fault) error {
	back := session.OwnPath(v.R.FormValue("retour"))
	v.At = "/profil"
	if back != "" {
		v.At += "?" + url.Values{"retour": {back}}.Encode()
	}
	return v.Show(code, "profiles", map[string]any{"Profiles": v.Session.Audiences(), "Return": back, "Draft": v.hasDraft(back)}, faults...)
}

// hasDraft reports whether an address is of a page of a draft that is there.
func (v *visitor) hasDraft(at string) bool {
	of, isDraft := strings.CutPrefix(at, writing.Drafts)
	id, _, _ := strings.Cut(of, "/")
	if !isDraft || uuid.Validate(id) != nil {
		return false
	}
	_, err := v.members.GetDraft(v.Ctx, &messagingpb.GetDraftRequest{Id: id})
	return err == nil
}

func (v *visitor) setProfile() error {
	if !v.Session.Act(v.R.PostFormValue("profil")) {
		return v.showProfilesAgain(http.StatusUnprocessableEntity, render.Fault{Field: "p0", Text: v.Tr("Choisissez un profil.", "Choose a profile.")})
	}
	if err := v.Sessions.Save(v.W, v.R, v.Session); err != nil {
		return err
	}
	back := session.OwnPath(v.R.PostFormValue("retour"))
	if back == "" {
		back = "/espace"
	}
	return v.Redirect(back)
}
