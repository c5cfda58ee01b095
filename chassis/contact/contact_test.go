package contact

import (
	"errors"
	"strings"
	"testing"

	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
)

func TestPhone(t *testing.T) {
	t.Parallel()
	for typed, want := range map[string]string{
		"0690 12 34 56": "+590690123456 GP M", "+33 690 12 34 56": "+590690123456 GP M", "0033 690 12 34 56": "+590690123456 GP M",
		"0694 12 34 56": "+594694123456 GF M", "+33694123456": "+594694123456 GF M", "0033694123456": "+594694123456 GF M",
		"0696 12 34 56": "+596696123456 MQ M", "+33 6 96 12 34 56": "+596696123456 MQ M", "0033696123456": "+596696123456 MQ M",
		"0692 12 34 56": "+262692123456 RE M", "+33692123456": "+262692123456 RE M", "0033 692 12 34 56": "+262692123456 RE M",
		"0639 01 23 45": "+262639012345 YT M", "0708 55 12 34": "+508708551234 PM M",
		"06 12 34 56 78": "+33612345678 FR M", "06.12.34.56.78": "+33612345678 FR M", "06-12-34-56-78": "+33612345678 FR M", "06/12/34/56/78": "+33612345678 FR M",
		"+33 (0)6 12 34 56 78": "+33612345678 FR M", "+33 06 12 34 56 78": "+33612345678 FR M", "tel:+33612345678": "+33612345678 FR M",
		"\u2068+33 6 12 34 56 78\u2069": "+33612345678 FR M", "\u202a06\u00a012\u202f34\u200956\u200b78\u202c": "+33612345678 FR M", "06‑12–34—56−78": "+33612345678 FR M",
		"٠٦١٢٣٤٥٦٧٨": "+33612345678 FR M", "０６１２３４５６７８": "+33612345678 FR M", "＋33612345678": "+33612345678 FR M",
		"06 39 98 00 01": "+33639980001 FR M", "+33639980001": "+33639980001 FR M", "01 99 00 10 01": "+33199001001 FR -",
		"01 42 34 56 78": "+33142345678 FR -", "0590 12 34 56": "+590590123456 GP -", "0262 12 34 56": "+262262123456 RE -", "09 69 32 00 00": "+33969320000 FR -",
		"+352 621 123 456": "+352621123456 LU M", "+41 79 123 45 67": "+41791234567 CH M", "0041791234567": "+41791234567 CH M",
		"+1 506 234 5678": "+15062345678 CA M", "+689 87 12 34 56": "+68987123456 PF M", "+687 75 12 34": "+687751234 NC M", "+681 82 12 34": "+681821234 WF M",
	} {
		n, err := Phone(typed)
		got := n.E164 + " " + n.Region + " " + map[bool]string{true: "M", false: "-"}[n.Mobile]
		if err != nil || got != want {
			t.Errorf("%q: %s, %v, want %s", typed, got, err, want)
			continue
		}
		if again, err := Phone(n.E164); err != nil || again.E164 != n.E164 || again.Mobile != n.Mobile {
			t.Errorf("%q gives %s, which is %s, %v", typed, n.E164, again.E164, err)
		}
	}
	for _, typed := range []string{"", "+", "0", "06", "06 12 34 56 7", "06 12 34 56 789", "06 12 34 56 78 poste 5", "0612345678 ou 0712345678", "zéro six", "0O12345678", "++33612345678", "06+12345678", "0000000000", "+999123456789", "1", "3646x", "12 34 56", strings.Repeat("0", 2000), "06 12 34 56 78" + strings.Repeat(" ", 2000)} {
		n, err := Phone(typed)
		var fault *Fault
		if !errors.As(err, &fault) || fault.Reason != errorpb.ErrorReason_PHONE_INVALID {
			t.Errorf("%q is %v, %v", typed, n, err)
		}
	}
}

// What is shown is taken again as it is.
func TestShownPhone(t *testing.T) {
	t.Parallel()
	for phone, want := range map[string]string{
		"+33612345678": "06 12 34 56 78", "+33639980001": "06 39 98 00 01", "+33199001001": "01 99 00 10 01", "+262692123456": "0692 12 34 56", "+590690123456": "0690 12 34 56",
		"+594694123456": "0694 12 34 56", "+596696123456": "0696 12 34 56", "+262639012345": "0639 01 23 45", "+508708551234": "+508 708 551 234",
		"+41791234567": "+41 79 123 45 67", "+352621123456": "+352 621 123 456", "+15062345678": "+1 506-234-5678", "+687751234": "+687 75.12.34",
		"06.12.34.56.78": "06 12 34 56 78", "": "", "06": "06", "zéro six": "zéro six",
	} {
		got := ShownPhone(phone)
		if got != want {
			t.Errorf("%q is shown as %q, want %q", phone, got, want)
		}
		typed, err := Phone(phone)
		if again, errAgain := Phone(got); again.E164 != typed.E164 || (err == nil) != (errAgain == nil) {
			t.Errorf("%q is shown as %q, which is %q, %v", phone, got, again.E164, errAgain)
		}
	}
}

func TestTexted(t *testing.T) {
	t.Parallel()
	for typed, want := range map[string]errorpb.ErrorReason{
		"06 12 34 56 78": 0, "0692123456": 0, "+687751234": 0,
		"01 42 34 56 78": errorpb.ErrorReason_PHONE_NOT_MOBILE, "+352 621 123 456": errorpb.ErrorReason_PHONE_COUNTRY_UNSUPPORTED, "06": errorpb.ErrorReason_PHONE_INVALID,
	} {
		_, err := Texted(typed, France)
		var fault *Fault
		if errors.As(err, &fault); (fault == nil) != (want == 0) || fault != nil && fault.Reason != want {
			t.Errorf("%q: %v, want %v", typed, err, want)
		}
		if err != nil && len(typed) > 2 && strings.Contains(err.Error(), typed) {
			t.Errorf("the fault repeats %q", typed)
		}
	}
}

func TestNumber_Zones(t *testing.T) {
	t.Parallel()
	for typed, want := range map[string]string{
		"0612345678": "Europe/Paris", "0639980001": "Europe/Paris", "0692123456": "Indian/Reunion", "0690123456": "America/Guadeloupe", "0694123456": "America/Cayenne",
		"0696123456": "America/Martinique", "0639012345": "Indian/Mayotte", "0708551234": "America/Miquelon", "+687751234": "Pacific/Noumea",
		"+68987123456": "Pacific/Gambier Pacific/Marquesas Pacific/Tahiti",
	} {
		n, err := Phone(typed)
		if err != nil {
			t.Fatal(typed, err)
		}
		var got []string
		for _, zone := range n.Zones() {
			got = append(got, zone.String())
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", typed, got, want)
		}
	}
}

func TestEmail(t *testing.T) {
	t.Parallel()
	for typed, want := range map[string]string{
		"nom@exemple.fr": "nom@exemple.fr", "  nom@Exemple.FR\u00a0": "nom@exemple.fr", "Prenom.NOM+msa@exemple.fr": "Prenom.NOM+msa@exemple.fr",
		"o’brien@exemple.fr": "o'brien@exemple.fr", "d‘arc@exemple.fr": "d'arc@exemple.fr", "mailto:nom@exemple.fr": "nom@exemple.fr",
		"\u2068nom@exemple.fr\u2069": "nom@exemple.fr", "nom\u200b@orange\u00ad.fr": "nom@orange.fr", "nom＠exemple.fr": "nom@exemple.fr",
		"nom@société.fr": "nom@xn--socit-esab.fr", "nom@Straße.de": "nom@xn--strae-oqa.de", "nom@例え。jp": "nom@xn--r8jz45g.jp", "nom@xn--socit-esab.fr": "nom@xn--socit-esab.fr",
		"a@b.co.uk": "a@b.co.uk", "nom@messagerie.example": "nom@messagerie.example", "nom@msa.test": "nom@msa.test",
	} {
		got, err := Email(typed)
		if err != nil || got != want {
			t.Errorf("%q: %s, %v, want %s", typed, got, err, want)
			continue
		}
		if again, err := Email(got); err != nil || again != got {
			t.Errorf("%q gives %s, which gives %s, %v", typed, got, again, err)
		}
	}
	for typed, want := range map[string]errorpb.ErrorReason{
		"": errorpb.ErrorReason_EMAIL_INVALID, "nom": errorpb.ErrorReason_EMAIL_INVALID, "@exemple.fr": errorpb.ErrorReason_EMAIL_INVALID, "nom@": errorpb.ErrorReason_EMAIL_INVALID,
		"nom@orange": errorpb.ErrorReason_EMAIL_INVALID, "nom@localhost": errorpb.ErrorReason_EMAIL_INVALID, "nom prenom@exemple.fr": errorpb.ErrorReason_EMAIL_INVALID,
		".nom@exemple.fr": errorpb.ErrorReason_EMAIL_INVALID, "nom.@exemple.fr": errorpb.ErrorReason_EMAIL_INVALID, "a..b@exemple.fr": errorpb.ErrorReason_EMAIL_INVALID,
		`"a b"@exemple.fr`: errorpb.ErrorReason_EMAIL_INVALID, "Nom <nom@exemple.fr>": errorpb.ErrorReason_EMAIL_INVALID, "nom@[127.0.0.1]": errorpb.ErrorReason_EMAIL_INVALID,
		"nom@127.0.0.1": errorpb.ErrorReason_EMAIL_INVALID, "a@b@exemple.fr": errorpb.ErrorReason_EMAIL_INVALID, "nom@-exemple.fr": errorpb.ErrorReason_EMAIL_INVALID,
		"nom@exemple..fr": errorpb.ErrorReason_EMAIL_INVALID, "nom@exem_ple.fr": errorpb.ErrorReason_EMAIL_INVALID, "nom@exemple.fr, autre@exemple.fr": errorpb.ErrorReason_EMAIL_INVALID,
		strings.Repeat("a", 65) + "@exemple.fr": errorpb.ErrorReason_EMAIL_INVALID, "nom@" + strings.Repeat("a", 64) + ".fr": errorpb.ErrorReason_EMAIL_INVALID,
		"nom@" + strings.Repeat("abcdefgh.", 30) + "fr": errorpb.ErrorReason_EMAIL_INVALID,
		"rené@exemple.fr": errorpb.ErrorReason_EMAIL_NOT_ASCII, "имя@exemple.fr": errorpb.ErrorReason_EMAIL_NOT_ASCII,
		"nom@gmail.con": errorpb.ErrorReason_EMAIL_UNREACHABLE, "nom@exemple.invalid": errorpb.ErrorReason_EMAIL_UNREACHABLE, "nom@poste.local": errorpb.ErrorReason_EMAIL_UNREACHABLE,
	} {
		got, err := Email(typed)
		var fault *Fault
		if !errors.As(err, &fault) || fault.Reason != want {
			t.Errorf("%q: %q, %v, want %v", typed, got, err, want)
		}
	}
	if got := Shown("nom@xn--socit-esab.fr"); got != "nom@société.fr" {
		t.Error(got)
	}
	if got := Shown("xn--socit-esab.fr"); got != "xn--socit-esab.fr" {
		t.Error(got)
	}
}

// What is returned is taken again, and is itself; nothing is as long as a header cannot be.
func FuzzContact(f *testing.F) {
	for _, typed := range []string{"nom@exemple.fr", "\u206806 12\u2069", "nom@société.fr", "+33(0)612345678", "٠٦", "a@xn--.fr"} {
		f.Add(typed)
	}
	f.Fuzz(func(t *testing.T, typed string) {
		if email, err := Email(typed); err == nil {
			if again, err := Email(email); err != nil || again != email || len(email) > maxEmail || strings.ContainsFunc(email, func(r rune) bool { return r <= ' ' || r > '~' }) {
				t.Errorf("%q gives %q, which gives %q, %v", typed, email, again, err)
			}
			Shown(email)
		}
		if n, err := Phone(typed); err == nil {
			if again, err := Phone(n.E164); err != nil || again.E164 != n.E164 || len(n.E164) > 17 || len(n.Zones()) == 0 {
				t.Errorf("%q gives %s, which gives %s, %v", typed, n.E164, again.E164, err)
			}
		}
	})
}
