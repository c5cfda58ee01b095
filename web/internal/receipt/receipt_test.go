package receipt

import (
	"strings"
	"testing"
	"time"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/web/internal/render"
)

func TestMasked(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"jeanne.martin@exemple.fr": "j…n@exemple.fr", "joe@exemple.fr": "j…e@exemple.fr", "jo@exemple.fr": "j…@exemple.fr", "j@exemple.fr": "j…@exemple.fr",
		"élodie@exemple.fr": "é…e@exemple.fr", "a@b@exemple.fr": "a…b@exemple.fr", "": "", "jeanne": "", "@exemple.fr": "", "jeanne@": "",
	} {
		if got := maskedEmail(address); got != want {
			t.Errorf("%q: %q, want %q", address, got, want)
		}
	}
	for number, want := range map[string]string{
		"+33612345678": "06 .. .. .. 78", "+33712345601": "07 .. .. .. 01", "+32470123456": "+32 .. 56", "+3361234567": "+33 .. 67", "": "", "0612345678": "", "+33": "",
	} {
		if got := strings.ReplaceAll(maskedPhone(number), "\u00a0", " "); got != want {
			t.Errorf("%q: %q, want %q", number, got, want)
		}
	}
}

// What leaves, and where to, is what the member has chosen and the account has.
func TestNext(t *testing.T) {
	t.Parallel()
	french, english := &render.Pages{Lang: "fr"}, &render.Pages{Lang: "en"}
	now := time.Date(2026, time.November, 25, 18, 42, 0, 0, time.UTC)
	account := func(p *messagingpb.Preferences) *messagingpb.Preferences {
		p.AccountEmail, p.AccountPhone = "jeanne@exemple.fr", "+33612345678"
		return p
	}
	for name, row := range map[string]struct {
		now  *messagingpb.Preferences
		want string
	}{
		"of the account":      {account(&messagingpb.Preferences{SmsOnAcknowledgement: true}), "Un accusé de réception part à j…e@exemple.fr, et un SMS de confirmation au 06 .. .. .. 78. | Un e-mail vous prévient dès que la réponse est là."},
		"chosen":              {account(&messagingpb.Preferences{Email: "martin@exemple.org", Phone: "+33712345601", SmsOnAcknowledgement: true}), "Un accusé de réception part à m…n@exemple.org, et un SMS de confirmation au 07 .. .. .. 01. | Un e-mail vous prévient dès que la réponse est là."},
		"no SMS wished":       {account(&messagingpb.Preferences{}), "Un accusé de réception part à j…e@exemple.fr. | Un e-mail vous prévient dès que la réponse est là."},
		"no number":           {&messagingpb.Preferences{Email: "jeanne@exemple.fr", SmsOnAcknowledgement: true, SmsOnReply: true}, "Un accusé de réception part à j…e@exemple.fr. | Un e-mail vous prévient dès que la réponse est là."},
		"an SMS on the reply": {account(&messagingpb.Preferences{SmsOnReply: true}), "Un accusé de réception part à j…e@exemple.fr. | Un e-mail vous prévient dès que la réponse est là. Un SMS vous l’annonce aussi."},
		"no address":          {&messagingpb.Preferences{Phone: "+33612345678", SmsOnAcknowledgement: true}, "Un SMS de confirmation part au 06 .. .. .. 78. Nous n’avons pas d’adresse où vous envoyer un accusé de réception. | Revenez lire la réponse dans Ma messagerie : rien ne vous l’annoncera."},
		"SMS alone":           {&messagingpb.Preferences{Phone: "+33612345678", SmsOnReply: true}, "Aucun accusé de réception ne part : nous n’avons pas d’adresse où vous l’envoyer. | Un SMS vous annonce la réponse quand elle est là."},
		"of no use":           {&messagingpb.Preferences{AccountEmail: "rené@exemple.fr", AccountEmailFault: "EMAIL_NOT_ASCII", AccountPhone: "+33142345678", AccountPhoneFault: "PHONE_NOT_MOBILE", SmsOnAcknowledgement: true}, "Aucun accusé de réception ne part : nous n’avons pas d’adresse où vous l’envoyer. | Revenez lire la réponse dans Ma messagerie : rien ne vous l’annoncera."},
		"nothing":             {&messagingpb.Preferences{SmsOnAcknowledgement: true}, "Aucun accusé de réception ne part : nous n’avons pas d’adresse où vous l’envoyer. | Revenez lire la réponse dans Ma messagerie : rien ne vous l’annoncera."},
	} {
		sent := Receipt{Time: now, Days: 3, Reached: ReachedBy(row.now)}
		first, last, _ := strings.Cut(row.want, " | ")
		want := strings.Join([]string{first, "Nous vous répondons. Réponse attendue avant le mardi 1er décembre.", last}, " | ")
		if got := strings.ReplaceAll(strings.Join(sent.Next(french, now), " | "), "\u00a0", " "); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
		for i, sentence := range sent.Next(english, now) {
			if sentence == sent.Next(french, now)[i] {
				t.Errorf("%s: %q in both languages", name, sentence)
			}
		}
	}
	if got := strings.Join((Receipt{Time: now}).Next(french, now), " | "); got != "Nous vous répondons." {
		t.Errorf("with nothing known: %s", got)
	}
	if got := (Receipt{Answered: true, Days: 3}).Next(french, now); got != nil {
		t.Errorf("answered: %s", got)
	}
}
