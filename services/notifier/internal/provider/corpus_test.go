package provider

import (
	"testing"
	"time"

	"github.com/ma-messagerie/messagerie/chassis/testenv/corpus"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/provider/providertest"
)

// What is right is what a provider gets, to the character.
func TestCorpusWire(t *testing.T) {
	t.Parallel()
	p := providertest.New(t)
	mails, texts := sendGridAt(p, 5*time.Second), twilioAt(p, 5*time.Second)
	sent := make(map[string]bool)
	for _, row := range corpus.Rows(t, corpus.Email) {
		if row.Reason != "" || sent[row.Right] {
			continue
		}
		sent[row.Right] = true
		if got := mails.Mail(t.Context(), Email{DeliveryID: "e.EMAIL", To: row.Right, Subject: "s", Text: "t", HTML: "h"}); got.Class != Accepted {
			t.Errorf("corpus.tsv:%d: %+v", row.Line, got)
		}
		if call := <-p.Came; call.To != row.Right {
			t.Errorf("corpus.tsv:%d: sent to %q, want %q", row.Line, call.To, row.Right)
		}
	}
	for _, row := range corpus.Rows(t, corpus.Phone) {
		if row.Reason != "" || sent[row.Right] {
			continue
		}
		sent[row.Right] = true
		if got := texts.Text(t.Context(), SMS{DeliveryID: "e.SMS", To: row.Right, Body: "b"}); got.Class != Accepted {
			t.Errorf("corpus.tsv:%d: %+v", row.Line, got)
		}
		if call := <-p.Came; call.Form.Get("To") != row.Right {
			t.Errorf("corpus.tsv:%d: sent to %q, want %q", row.Line, call.Form.Get("To"), row.Right)
		}
	}
	if len(sent) < 60 {
		t.Errorf("%d addresses and numbers", len(sent))
	}
}
