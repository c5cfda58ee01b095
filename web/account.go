package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

// home sends people to where they begin.
func (v *visit) home() error {
	switch {
	case v.session == nil:
		return v.redirect("/connexion")
	case v.session.Realm == realmAgent:
		return v.redirect("/agent")
	}
	return v.redirect("/espace")
}

// static is a page that says the same to all.
func static(tag string) func(*visit) error {
	return func(v *visit) error { return v.show(http.StatusOK, tag, nil) }
}

func (v *visit) showSignIn() error {
	return v.show(http.StatusOK, "signin", map[string]any{
		"Return": ownPath(v.r.FormValue("retour")), "Agent": v.r.FormValue("pour") == string(realmAgent),
		"Back": v.r.FormValue("retour") != "",
	})
}

// beginSignIn is a link, not a form: a form may not lead to another site here.
func (v *visit) beginSignIn() error {
	who := realm(v.r.PathValue("pour"))
	if who != realmMember && who != realmAgent {
		return errNoPage
	}
	if err := v.sessions.begin(v.w, v.r, who, v.r.FormValue("retour")); err != nil {
		return status.Error(codes.Unavailable, err.Error())
	}
	return nil
}

func (v *visit) finishSignIn() error {
	back, err := v.sessions.finish(v.w, v.r)
	switch {
	case errors.Is(err, errSignIn):
		return err
	case err != nil:
		return status.Error(codes.Unavailable, err.Error())
	case back == "":
		back = "/"
	}
	return v.redirect(back)
}

func (v *visit) signOut() error {
	v.sessions.end(v.w)
	v.session = nil
	return v.redirect("/connexion")
}

func (v *visit) setLanguage() error {
	lang := v.r.PostFormValue("langue")
	if slices.Contains(languages, lang) {
		setCookie(v.w, languageCookie, lang, 365*24*3600)
	}
	back := ownPath(v.r.PostFormValue("retour"))
	if back == "" {
		back = "/"
	}
	return v.redirect(back)
}

// keepSession says how long the session goes on; reading it has prolonged it.
func (v *visit) keepSession() error {
	if v.session == nil {
		v.w.WriteHeader(http.StatusUnauthorized)
		return nil
	}
	v.w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(v.w, `{"secondsLeft":%d}`, int(sessionIdle.Seconds()))
	return nil
}

func (v *visit) showProfiles() error {
	var profiles []taxonomypb.Audience
	for _, name := range v.session.Profiles {
		if audience := audienceNamed(name); audience != 0 {
			profiles = append(profiles, audience)
		}
	}
	return v.show(http.StatusOK, "profiles", map[string]any{"Profiles": profiles, "Return": ownPath(v.r.FormValue("retour"))})
}

func (v *visit) setProfile() error {
	name := v.r.PostFormValue("profil")
	if !slices.Contains(v.session.Profiles, name) {
		return v.redirect("/profil")
	}
	v.session.Audience = audienceNamed(name)
	if err := v.sessions.save(v.w, v.r, v.session); err != nil {
		return err
	}
	back := ownPath(v.r.PostFormValue("retour"))
	if back == "" {
		back = "/espace"
	}
	return v.redirect(back)
}

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

// faultsOf turns the violations of a refusal into what is shown at the fields; nil
// when it is none, or not about a field.
func (v *visit) faultsOf(err error) []fault {
	if status.Code(err) != codes.InvalidArgument {
		return nil
	}
	var faults []fault
	for _, detail := range status.Convert(err).Details() {
		if bad, ok := detail.(*errdetails.BadRequest); ok {
			for _, violation := range bad.GetFieldViolations() {
				if text := v.faultText(violation.GetReason(), infoOf(err).GetMetadata()); text != "" {
					faults = append(faults, fault{strings.TrimPrefix(violation.GetField(), "preferences."), text})
				}
			}
		}
	}
	return faults
}

// faultText is what to do about a refused field.
func (v *visit) faultText(reason string, details map[string]string) string {
	switch reason {
	case "BODY_TOO_SHORT":
		return v.tr("Écrivez au moins %s caractères. Votre texte en compte %s.", "Write at least %s characters. Your text has %s.", details["limit"], details["actual"])
	case "BODY_TOO_LONG":
		return v.tr("Écrivez au plus %s caractères. Votre texte en compte %s.", "Write at most %s characters. Your text has %s.", details["limit"], details["actual"])
	case "BODY_BLANK":
		return v.tr("Écrivez votre message : ce texte n’a aucun caractère visible.", "Write your message: this text has no visible character.")
	case "BODY_CHARACTER_FORBIDDEN", "BODY_NOT_UTF8":
		return v.tr("Retirez le caractère %s, en position %s : il ne peut pas être envoyé.", "Take out the character %s at position %s: it cannot be sent.",
			details["character"], details["position"])
	case "CONTROL_CHARACTERS":
		return v.tr("Écrivez-le à nouveau sur une ligne : il contient un caractère invisible.", "Write it again on one line: it has an invisible character.")
	case "EMAIL_INVALID":
		return v.tr("Écrivez une adresse électronique complète, comme nom@exemple.fr.", "Write a whole e-mail address, such as name@example.org.")
	case "PHONE_INVALID":
		return v.tr("Écrivez un numéro de téléphone mobile, comme 06 12 34 56 78.", "Write a mobile telephone number, such as +33 6 12 34 56 78.")
	}
	return ""
}

func (v *visit) showPersonalData() error { return v.show(http.StatusOK, "personal", nil) }

// exportMyData gives all that is stored about the member as one JSON file.
func (v *visit) exportMyData() error {
	stream, err := v.members.ExportMyData(v.ctx, &messagingpb.ExportMyDataRequest{})
	if err != nil {
		return err
	}
	// The first piece tells whether there will be any.
	piece, err := stream.Recv()
	if err != nil {
		return err
	}
	v.w.Header().Set("Content-Type", "application/json; charset=utf-8")
	v.w.Header().Set("Content-Disposition", `attachment; filename="mes-donnees.json"`)
	before := "[\n"
	for ; err == nil; piece, err = stream.Recv() {
		line, encodeErr := protojson.Marshal(piece)
		if encodeErr != nil {
			return fmt.Errorf("encoding an export: %w", encodeErr)
		}
		// protojson varies its white space on purpose.
		var tidy json.RawMessage = line
		out, encodeErr := json.Marshal(tidy)
		if encodeErr != nil {
			return fmt.Errorf("encoding an export: %w", encodeErr)
		}
		// Each piece has its time, however many there are.
		_ = http.NewResponseController(v.w).SetWriteDeadline(time.Now().Add(writeTimeout))
		if _, err := v.w.Write([]byte(before + string(out))); err != nil {
			return nil //nolint:nilerr // the reader has gone away
		}
		before = ",\n"
	}
	if !isEnd(err) {
		// Half a file must not look like a whole one.
		panic(http.ErrAbortHandler)
	}
	_, _ = v.w.Write([]byte("\n]\n"))
	return nil
}

func (v *visit) eraseMyData() error {
	if v.r.PostFormValue("confirmer") != "oui" {
		return v.show(http.StatusUnprocessableEntity, "personal", nil,
			fault{"confirmer", v.tr("Cochez la case pour confirmer l’effacement.", "Tick the box to confirm the erasure.")})
	}
	resp, err := v.members.EraseMyData(v.ctx, &messagingpb.EraseMyDataRequest{Confirm: true})
	if err != nil {
		return err
	}
	v.flash(v.tr("%d conversation(s) effacée(s), ainsi que vos brouillons et vos coordonnées.", "%d conversation(s) erased, and your drafts and contact points.", resp.GetConversations()))
	return v.redirect("/donnees-personnelles")
}

// trimmed is a form's value without outer white space.
func (v *visit) trimmed(name string) string { return strings.TrimSpace(v.r.PostFormValue(name)) }
