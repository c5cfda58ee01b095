package member

import (
	"net/http"
	"strings"

	"github.com/google/uuid"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/web/internal/session"
	"github.com/ma-messagerie/messagerie/web/internal/writing"
)

func (v *visitor) showProfiles() error {
	back := session.OwnPath(v.R.FormValue("retour"))
	return v.Show(http.StatusOK, "profiles", map[string]any{"Profiles": v.Session.Audiences(), "Return": back, "Draft": v.hasDraft(back)})
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
		return v.Redirect("/profil")
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
