package web

import (
	"net/http"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

// preferenceForm is what the preferences' page shows.
type preferenceForm struct {
	Now *messagingpb.Preferences
	// Email and Phone are what the member has typed, or chosen before.
	Email, Phone string
}

func (v *visit) showPreferences() error {
	resp, err := v.members.GetPreferences(v.ctx, &messagingpb.GetPreferencesRequest{})
	if err != nil {
		return err
	}
	now := resp.GetPreferences()
	return v.show(http.StatusOK, "preferences", preferenceForm{now, now.GetEmail(), now.GetPhone()})
}

func (v *visit) setPreferences() error {
	wanted := &messagingpb.Preferences{
		Email: v.r.PostFormValue("email"), Phone: v.r.PostFormValue("telephone"), Locale: v.r.PostFormValue("langue"),
		SmsOnAcknowledgement: v.r.PostFormValue("sms-accuse") != "", SmsOnReply: v.r.PostFormValue("sms-suite") != "",
	}
	_, err := v.members.ReplacePreferences(v.ctx, &messagingpb.ReplacePreferencesRequest{Preferences: wanted})
	if faults := v.faultsOf(err); faults != nil {
		return v.show(http.StatusUnprocessableEntity, "preferences", preferenceForm{wanted, wanted.GetEmail(), wanted.GetPhone()}, faults...)
	}
	if err != nil {
		return err
	}
	v.flash(v.tr("Vos préférences sont enregistrées.", "Your preferences are saved."))
	return v.redirect("/preferences")
}
