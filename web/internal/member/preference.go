package member

import (
	"net/http"

	"github.com/ma-messagerie/messagerie/chassis/contact"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/web/internal/receipt"
	"github.com/ma-messagerie/messagerie/web/internal/refusal"
	"github.com/ma-messagerie/messagerie/web/internal/session"
)

// preferenceForm is what the preferences' page shows.
type preferenceForm struct {
	Now *messagingpb.Preferences
	// Email and Phone are what the member has typed, or chosen before.
	Email, Phone string
	// EmailFault and PhoneFault say what to do about a contact point of the account that is of no
	// use, where nothing else was chosen.
	EmailFault, PhoneFault string
}

func (v *visitor) showPreferences() error {
	resp, err := v.members.GetPreferences(v.Ctx, &messagingpb.GetPreferencesRequest{})
	if err != nil {
		return err
	}
	now := resp.GetPreferences()
	form := preferenceForm{Now: now, Email: now.GetEmail(), Phone: contact.ShownPhone(now.GetPhone())}
	if reason := now.GetAccountEmailFault(); reason != "" && form.Email == "" {
		form.EmailFault = refusal.FaultText(v.Pages, reason, nil)
	}
	if reason := now.GetAccountPhoneFault(); reason != "" && form.Phone == "" {
		form.PhoneFault = refusal.FaultText(v.Pages, reason, nil)
	}
	return v.Show(http.StatusOK, "preferences", form)
}

func (v *visitor) setPreferences() error {
	wanted := &messagingpb.Preferences{
		Email: v.R.PostFormValue("email"), Phone: v.R.PostFormValue("telephone"), Locale: v.R.PostFormValue("langue"),
		SmsOnAcknowledgement: v.R.PostFormValue("sms-accuse") != "", SmsOnReply: v.R.PostFormValue("sms-suite") != "",
	}
	_, err := v.members.ReplacePreferences(v.Ctx, &messagingpb.ReplacePreferencesRequest{Preferences: wanted})
	if faults := v.FaultsOf(err); faults != nil {
		return v.Show(http.StatusUnprocessableEntity, "preferences", preferenceForm{Now: wanted, Email: wanted.GetEmail(), Phone: wanted.GetPhone()}, faults...)
	}
	if err != nil {
		return err
	}
	// A confirmation that is opened again no longer says where things go: that may have changed.
	session.SetCookie(v.W, receipt.Cookie, "", -1)
	v.Flash(v.Tr("Vos préférences sont enregistrées.", "Your preferences are saved."))
	return v.Redirect("/preferences")
}
