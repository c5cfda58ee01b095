package letter

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/ledger"
)

var update = flag.Bool("update", false, "write the golden files anew")

var words = Composer{Site: "messagerie.example.org"}

// member is a recipient whose every value is distinct, so that a test can tell
// which of them went where.
func member(locale string) *messagingpb.Recipient {
	return &messagingpb.Recipient{
		ConversationId: "0199f0c0-0000-7000-8000-000000000001",
		Email:          "canary.jeanne@example.org", Phone: "+33639980001", Locale: locale, Reference: "MSA-7K3D92QX",
		ReceiveTime: timestamppb.New(time.Date(2026, 11, 23, 13, 5, 0, 0, time.UTC)),
		Queue: &taxonomypb.Queue{
			Code: "famille", Label: "Service Famille & Logement", PostalAddress: "MSA d'Armorique\n3 rue Hervé de Guébriant\n29412 Landerneau Cedex",
			Phone: "02 98 85 79 79", Email: "famille@msa.example.org", AnswerDays: 5,
		},
	}
}

// delivery is one that is sent for an occasion.
func (o occasion) delivery() ledger.Delivery {
	return ledger.Delivery{EventType: o.event, Closing: o.closing}
}

func (o occasion) String() string {
	if o.closing {
		return string(o.event) + "-closing"
	}
	return string(o.event)
}

// Deliveries for the occasions there are.
var (
	submission = occasion{event: ledger.MessageSubmitted}.delivery()
	reply      = occasion{event: ledger.ReplyPosted}.delivery()
)

func TestGolden(t *testing.T) {
	t.Parallel()
	for about, byLang := range library {
		for lang := range byLang {
			name := fmt.Sprintf("%s.%s", about, lang)
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				to := member(lang)
				mail, err := words.Mail(about.delivery(), to)
				if err != nil {
					t.Fatal(err)
				}
				text, err := words.Text(about.delivery(), to)
				if err != nil {
					t.Fatal(err)
				}
				golden(t, name+".txt", fmt.Sprintf("Subject: %s\n\n%s\n=== SMS\n%s\n", mail.Subject, mail.Text, text.Body))
				golden(t, name+".html", mail.HTML)
			})
		}
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (write it anew with go test -update): %s", name, diff)
	}
}

// What the law asks of an acknowledgement, and what a mail must never have.
func TestMailHoldsWhatItMustAndNoMore(t *testing.T) {
	t.Parallel()
	for about, byLang := range library {
		for lang := range byLang {
			mail, err := words.Mail(about.delivery(), member(lang))
			if err != nil {
				t.Fatal(err)
			}
			for part, body := range map[string]string{"text": mail.Text, "html": mail.HTML} {
				wants := []string{"MSA-7K3D92QX", "messagerie.example.org", "23 "}
				if about.event == ledger.MessageSubmitted {
					wants = append(wants, "5 ", "L. 112-11", "R. 112-5")
				}
				if about.event == ledger.MessageSubmitted || about.closing {
					wants = append(wants, "29412 Landerneau Cedex", "02 98 85 79 79", "famille@msa.example.org", "2026")
				}
				for _, want := range wants {
					if !strings.Contains(body, want) {
						t.Errorf("%s %s %s: %q is missing", about, lang, part, want)
					}
				}
				for _, never := range []string{"http://", "https://", "<img", "<a ", "href", "canary.jeanne", "+33639980001", "<no value>"} {
					if strings.Contains(body, never) {
						t.Errorf("%s %s %s: holds %q", about, lang, part, never)
					}
				}
			}
			if !strings.Contains(mail.HTML, `<html lang="`+lang+`"`) || !strings.Contains(mail.HTML, "Famille &amp; Logement") && about.delivery() != reply {
				t.Errorf("%s %s: language or escaping is missing", about, lang)
			}
			if strings.ContainsAny(mail.Subject, "\r\n") || !strings.Contains(mail.Subject, "MSA-7K3D92QX") {
				t.Errorf("%s %s: subject %q", about, lang, mail.Subject)
			}
		}
	}
}

// What makes a mail readable wherever it is opened, and what a reply's may not
// add: the service answers for a theme, which may be health.
func TestMailForm(t *testing.T) {
	t.Parallel()
	for about, byLang := range library {
		for lang := range byLang {
			mail, err := words.Mail(about.delivery(), member(lang))
			if err != nil {
				t.Fatal(err)
			}
			tables, layouts := strings.Count(mail.HTML, "<table"), strings.Count(mail.HTML, `<table role="presentation"`)
			if tables == 0 || tables != layouts || strings.Count(mail.HTML, "<h1") != 1 {
				t.Errorf("%s %s: %d of %d tables are for layout, %d headings", about, lang, layouts, tables, strings.Count(mail.HTML, "<h1"))
			}
			preferences := map[string]string{"fr": "Préférences", "en": "Preferences"}[lang]
			for _, want := range []string{
				"max-width:580px", "font-size:18px", `name="color-scheme" content="light dark"`, "prefers-color-scheme: dark", `<div style="display:none;`,
				`<div role="article"`, preferences,
			} {
				if !strings.Contains(mail.HTML, want) {
					t.Errorf("%s %s: %q is missing", about, lang, want)
				}
			}
			if !strings.Contains(mail.Text, preferences) || strings.Contains(mail.Text, "<") || strings.Contains(mail.Text, "\n\n\n") {
				t.Errorf("%s %s: text: %s", about, lang, mail.Text)
			}
			if about.delivery() == reply && (strings.Contains(mail.HTML, "Famille") || strings.Contains(mail.Text, "Famille")) {
				t.Errorf("%s %s names the service", about, lang)
			}
		}
	}
}

// No line of a French letter begins with a sign or ends with an opening one; an SMS has no other space.
func TestFrenchSpaces(t *testing.T) {
	t.Parallel()
	breaks := regexp.MustCompile(`[ \n][:;!?»]|«[ \n]`)
	for about := range library {
		mail, err := words.Mail(about.delivery(), member("fr"))
		if err != nil {
			t.Fatal(err)
		}
		for part, body := range map[string]string{"subject": mail.Subject, "text": mail.Text, "html": regexp.MustCompile(`<[^>]*>`).ReplaceAllString(mail.HTML[strings.Index(mail.HTML, "<body"):], "")} {
			if at := breaks.FindStringIndex(body); at != nil {
				t.Errorf("%s, %s: a line can break in %q", about, part, body[max(0, at[0]-20):at[1]])
			}
		}
		text, err := words.Text(about.delivery(), member("fr"))
		if err != nil {
			t.Fatal(err)
		}
		if strings.ContainsRune(text.Body, '\u00a0') {
			t.Errorf("%s: the SMS has a space that GSM 7-bit has not", about)
		}
	}
}

// A queue without optional values leaves no empty label behind.
func TestMailLeavesOutWhatIsUnknown(t *testing.T) {
	t.Parallel()
	to := member("fr")
	to.Queue.Email, to.Queue.AnswerDays = "", 0
	mail, err := words.Mail(submission, to)
	if err != nil {
		t.Fatal(err)
	}
	for _, never := range []string{"E-mail\u00a0:", "E-mail&nbsp;:", "attendue"} {
		if strings.Contains(mail.Text, never) || strings.Contains(mail.HTML, never) {
			t.Errorf("holds %q", never)
		}
	}
}

// The longest values there can be: this is what keeps the price of an SMS.
func TestSMSIsOnePart(t *testing.T) {
	t.Parallel()
	for about := range library {
		for _, lang := range []string{"fr", "en"} {
			to := member(lang)
			to.Reference = "WWWW-WWWWWWWWWWW"                                                // sixteen, all that references allows
			to.ReceiveTime = timestamppb.New(time.Date(2026, 10, 25, 1, 59, 0, 0, time.UTC)) // in the hour that is told apart
			text, err := words.Text(about.delivery(), to)
			if err != nil {
				t.Fatal(err)
			}
			size, ok := Septets(text.Body)
			if !ok || size > OnePart {
				t.Errorf("%s %s: %d septets, GSM 7-bit %t: %s", about, lang, size, ok, text.Body)
			}
			if strings.Contains(text.Body, words.Site) {
				t.Errorf("%s %s: an SMS holds an address: %s", about, lang, text.Body)
			}
		}
	}
}

func TestReferencesThatWouldBreakAHeader(t *testing.T) {
	t.Parallel()
	for _, reference := range []string{"", "MSA", "MSA-7K3D92QX\r\nBcc: x@example.org", "MSA-7K3D92QX\n", "msa-7k3d92qx", "MSA-É", strings.Repeat("A", 17)} {
		to := member("fr")
		to.Reference = reference
		if _, err := words.Mail(reply, to); err == nil {
			t.Errorf("reference %q was rendered", reference)
		}
		if _, err := words.Text(submission, to); err == nil {
			t.Errorf("reference %q was rendered in an SMS", reference)
		}
	}
	for _, about := range []occasion{{event: "conversation-closed"}, {ledger.MessageSubmitted, true}} {
		if _, err := words.Mail(about.delivery(), member("fr")); err == nil {
			t.Errorf("%s, which has no template, was rendered", about)
		}
	}
}

func TestLocales(t *testing.T) {
	t.Parallel()
	for locale, english := range map[string]bool{"fr": false, "": false, "de": false, "en": true, "en-GB": true, "eng": false} {
		mail, err := words.Mail(reply, member(locale))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.HasPrefix(mail.Subject, "A reply"); got != english {
			t.Errorf("locale %q: subject %q", locale, mail.Subject)
		}
	}
}
