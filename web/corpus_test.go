package web

import (
	"net/url"
	"strings"
	"testing"

	"github.com/ma-messagerie/messagerie/chassis/contact"
	"github.com/ma-messagerie/messagerie/chassis/testenv/corpus"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

// What is posted from a page reaches the service as it has to, and texts as they will be stored.
func TestCorpus(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	b := f.browse(t, jeanne)
	for kind, field := range map[string]string{corpus.Email: "email", corpus.Phone: "telephone"} {
		for _, row := range corpus.Rows(t, kind) {
			f.calls()
			b.post("/preferences", url.Values{"langue": {"fr"}, field: {row.Value}})
			got, _ := one[*messagingpb.ReplacePreferencesRequest](t, f.gateway, "MessagingService/ReplacePreferences")
			var form string
			var err error
			if kind == corpus.Email {
				form, err = contact.Email(got.GetPreferences().GetEmail())
			} else {
				var number contact.Number
				number, err = contact.Texted(got.GetPreferences().GetPhone(), contact.France)
				form = number.E164
			}
			if (err == nil) != (row.Reason == "") || err == nil && form != row.Right {
				t.Errorf("corpus.tsv:%d: %+q comes as %+v: %q, %v", row.Line, row.Value, got.GetPreferences(), form, err)
			}
		}
	}
	f.keep(selected(written))
	at := "/messagerie/conversations/" + conversationID
	for _, row := range corpus.Rows(t, corpus.Text) {
		if row.Reason != "" {
			continue
		}
		f.calls()
		b.post(at+"/suite", url.Values{"cle": {otherID}, "texte": {strings.NewReplacer("\r\n", "\r\n", "\n", "\r\n").Replace(row.Value)}})
		got, _ := one[*messagingpb.PostFollowUpRequest](t, f.gateway, "MessagingService/PostFollowUp")
		if strings.TrimSpace(got.GetText()) != row.Right {
			t.Errorf("corpus.tsv:%d: %+q comes as %+q, want %+q", row.Line, row.Value, got.GetText(), row.Right)
		}
	}
}
