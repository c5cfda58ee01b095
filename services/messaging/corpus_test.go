package messaging

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/ma-messagerie/messagerie/chassis/testenv/corpus"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

// faultIs reports whether a call was refused with the reason that a row has, or taken as it says.
// A field may be too long before it is looked at.
func faultIs(err error, row corpus.Row) bool {
	if row.Reason == "" {
		return err == nil
	}
	faults := faultsOf(err)
	return len(faults) == 1 && (strings.HasSuffix(faults[0], " "+row.Reason) || strings.HasSuffix(faults[0], " TOO_LONG") && utf8.RuneCountInString(row.Value) > 60)
}

// What people choose is kept in the form that is right, or refused for what is wrong.
func TestCorpus_Preferences(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne := s.member(t, "jeanne")
	for kind, choose := range map[string]func(*messagingpb.Preferences, string){
		corpus.Email: func(p *messagingpb.Preferences, value string) { p.Email = value },
		corpus.Phone: func(p *messagingpb.Preferences, value string) { p.Phone = value },
	} {
		for _, row := range corpus.Rows(t, kind) {
			if row.Source == "empty" {
				continue // which chooses nothing
			}
			chosen := &messagingpb.Preferences{}
			choose(chosen, row.Value)
			resp, err := jeanne.messaging.ReplacePreferences(jeanne.call(t), &messagingpb.ReplacePreferencesRequest{Preferences: chosen})
			got := resp.GetPreferences().GetEmail() + resp.GetPreferences().GetPhone()
			if !faultIs(err, row) || err == nil && got != row.Right {
				t.Errorf("corpus.tsv:%d: %+q is %q, %v, want %q, %s", row.Line, row.Value, got, faultsOf(err), row.Right, row.Reason)
			}
		}
	}
}

// What an account brings is held to the same.
func TestCorpus_Accounts(t *testing.T) {
	t.Parallel()
	s := running(t)
	for kind, claim := range map[string]string{corpus.Email: "email", corpus.Phone: "phone_number"} {
		for _, row := range corpus.Rows(t, kind) {
			if row.Source == "empty" {
				continue
			}
			got := s.member(t, "jeanne", map[string]any{"email": "", "phone_number": "", claim: row.Value}).preferences(t)
			kept, fault := got.GetAccountEmail()+got.GetAccountPhone(), got.GetAccountEmailFault()+got.GetAccountPhoneFault()
			if fault != row.Reason || fault == "" && kept != row.Right {
				t.Errorf("corpus.tsv:%d: %+q is %q, %s, want %q, %s", row.Line, row.Value, kept, fault, row.Right, row.Reason)
			}
		}
	}
}

// What is written is stored in the form that is right.
func TestCorpus_Texts(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne := s.member(t, "jeanne")
	for _, row := range corpus.Rows(t, corpus.Text) {
		req := question()
		req.Text = row.Value
		resp, err := s.messaging.SubmitMessage(jeanne.call(t, uuid.NewString()), req)
		if !faultIs(err, row) {
			t.Errorf("corpus.tsv:%d: %+q: %v, want %s", row.Line, row.Value, err, row.Reason)
			continue
		}
		if err != nil {
			continue
		}
		if got := jeanne.see(t, resp.GetConversation().GetId()).GetMessages()[0].GetText(); got != row.Right {
			t.Errorf("corpus.tsv:%d: %+q is stored as %+q, want %+q", row.Line, row.Value, got, row.Right)
		}
	}
	if n := s.count(t, `SELECT count(*) FROM message`); n < 80 {
		t.Errorf("%d messages", n)
	}
}
