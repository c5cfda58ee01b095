package notifier

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/ma-messagerie/messagerie/chassis/bus"
	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	notifierpb "github.com/ma-messagerie/messagerie/proto/messagerie/notifier/v1"
	"github.com/ma-messagerie/messagerie/services/notifier/internal/provider/providertest"
)

// closingOf is the event of a reply that says why its conversation was closed.
func closingOf(t *testing.T, to *messagingpb.Recipient) (uuid.UUID, bus.Event) {
	t.Helper()
	id, event := eventOf(t, eventspb.TypeReplyPosted, to)
	var reply eventspb.ReplyPosted
	if err := proto.Unmarshal(event.Data, &reply); err != nil {
		t.Fatal(err)
	}
	reply.Final, reply.Closing = false, true
	data, err := proto.Marshal(&reply)
	if err != nil {
		t.Fatal(err)
	}
	event.Data = data
	return id, event
}

// told compares the subjects of the mails that were accepted, by recipient.
func (s *stage) told(t *testing.T, when string, want map[string]string) {
	t.Helper()
	got := make(map[string]string)
	for _, mail := range s.providers.Accepted(providertest.Email) {
		got[mail.To] += mail.Mail["subject"].(string)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: %s", when, diff)
	}
}

// A closing is told in words of its own: to whom the broker brings it, to whom it is found in
// the event log, and when it is replayed. A reply beside it stays a reply.
func TestClosing(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	client := s.dial(t)
	s.cfg.ReconcileEvery = 20 * time.Millisecond
	s.mu.Lock()
	s.directory.settled = time.Now().Add(-40 * time.Second).Truncate(slot)
	s.mu.Unlock()
	brought, lost, answered := s.newcomer(), s.newcomer(), s.newcomer()
	brought.SmsOnReply, lost.Locale = true, "en"
	_, closing := closingOf(t, brought)
	found, missing := closingOf(t, lost)
	missing.Time = time.Now().Add(-time.Minute)
	s.log(found, missing, eventspb.TypeReplyPosted, missing.Time)
	_, reply := eventOf(t, eventspb.TypeReplyPosted, answered)
	s.providers.Answer(func(call *providertest.Call, w http.ResponseWriter) bool {
		if call.To == brought.GetEmail() {
			w.WriteHeader(http.StatusBadRequest)
			return true
		}
		return false
	})
	s.start(t)
	s.publish(t, closing, reply)
	s.settled(t, 6)
	french := "Votre conversation " + brought.GetReference() + " a été close sans réponse complète"
	want := map[string]string{
		lost.GetEmail():     "Your conversation " + lost.GetReference() + " was closed without a full reply",
		answered.GetEmail(): "Une réponse à votre message " + answered.GetReference() + " vous attend",
	}
	s.told(t, "before the replay", want)
	s.providers.Answer(nil)
	operator := s.operator(t)
	letters, err := client.operators.ListDeadLetters(t.Context(), &notifierpb.ListDeadLettersRequest{}, operator)
	if err != nil || len(letters.GetDeadLetters()) != 1 || letters.GetDeadLetters()[0].GetEventType() != eventspb.TypeReplyPosted {
		t.Fatalf("dead letters %v, %v", letters, err)
	}
	if _, err := client.operators.ReplayDeadLetters(t.Context(), &notifierpb.ReplayDeadLettersRequest{Ids: []string{letters.GetDeadLetters()[0].GetId()}}, operator); err != nil {
		t.Fatal(err)
	}
	s.settled(t, 6)
	want[brought.GetEmail()] = french
	s.told(t, "after it", want)
	texts := s.providers.Accepted(providertest.SMS)
	if len(texts) != 1 || texts[0].To != brought.GetPhone() || !strings.HasPrefix(texts[0].Form.Get("Body"), french+".") {
		t.Errorf("SMS: %+v", texts)
	}
}
