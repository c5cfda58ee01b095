package messaging

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/testing/protocmp"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/text"
)

// noteText must be as secret as what members write.
const noteText = "Note canari-de-l'agent : rappeler demain."

func (c caller) note(t *testing.T, id, text string, key ...string) (*messagingpb.Conversation, error) {
	t.Helper()
	if len(key) == 0 {
		key = []string{uuid.NewString()}
	}
	resp, err := c.agent.AddNote(c.call(t, key...), &messagingpb.AddNoteRequest{Id: id, Text: text})
	return resp.GetConversation(), err
}

func (c caller) read(t *testing.T, id string) *messagingpb.Conversation {
	t.Helper()
	resp, err := c.agent.GetConversation(c.call(t), &messagingpb.AgentServiceGetConversationRequest{Id: id})
	if err != nil {
		t.Fatal(err)
	}
	return resp.GetConversation()
}

func TestNote(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire, omar := s.member(t, "jeanne"), s.clerk(t, "claire"), s.clerk(t, "omar")
	id, other := jeanne.submit(t).GetId(), jeanne.submit(t).GetId()
	before := jeanne.see(t, id)
	if _, err := claire.note(t, id, noteText); err != nil {
		t.Fatal(err)
	}
	got, err := omar.note(t, id, " é\r\n")
	if err != nil || len(got.GetNotes()) != 2 || len(got.GetMessages()) != 1 {
		t.Fatalf("%v, %v", got, err)
	}
	first, last := got.GetNotes()[0], got.GetNotes()[1]
	if first.GetText() != noteText || first.GetAgent() != "claire Canari (agent)" || last.GetText() != "é" || last.GetAgent() != "omar Canari (agent)" || last.GetCreateTime().AsTime().Before(first.GetCreateTime().AsTime()) {
		t.Errorf("notes %v", got.GetNotes())
	}
	if diff := cmp.Diff(got, claire.read(t, id), protocmp.Transform()); diff != "" {
		t.Errorf("a colleague reads something else: %s", diff)
	}
	if diff := cmp.Diff(before, jeanne.see(t, id), protocmp.Transform()); diff != "" {
		t.Errorf("the member sees %s", diff)
	}
	if answered := claire.reply(t, id, false); len(answered.GetNotes()) != 2 {
		t.Errorf("with the reply: %v", answered)
	}
	if notes := claire.read(t, other).GetNotes(); notes != nil {
		t.Errorf("another conversation has %v", notes)
	}
	if seen := jeanne.see(t, id); seen.GetNotes() != nil {
		t.Errorf("the member sees %v", seen)
	}
	if secret := holdsSecret(s.dump(t)); secret != "" {
		t.Errorf("the database holds %q in clear", secret)
	}
	want := []string{"agent:claire note", "agent:omar note", "agent:claire read", "agent:claire claim", "agent:claire reply"}
	if diff := cmp.Diff(want, s.actions(t, id)); diff != "" {
		t.Error(diff)
	}
}

func TestNote_Text(t *testing.T) {
	t.Parallel()
	s := running(t)
	claire, id := s.clerk(t, "claire"), s.member(t, "jeanne").submit(t).GetId()
	for _, test := range []struct{ name, text, reason string }{
		{"nothing", "", "BODY_TOO_SHORT"},
		{"blank", " \n", "BODY_TOO_SHORT"},
		{"one", "é", ""},
		{"2000", strings.Repeat("é", text.OfNote.Max), ""},
		{"2000 outside the BMP", strings.Repeat("🙂", text.OfNote.Max), ""},
		{"2001", strings.Repeat("é", text.OfNote.Max+1), "BODY_TOO_LONG"},
		{"NUL", "a\x00b", ""},
		{"NUL alone", "\x00", "BODY_TOO_SHORT"},
		{"invisible", "\u200b", "BODY_BLANK"},
	} {
		_, err := claire.note(t, id, test.text)
		if test.reason != "" {
			t.Log(test.name)
			refused(t, err, codes.InvalidArgument, test.reason, "text")
		} else if err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	if notes := claire.notesOf(t, id); !slices.Contains(notes, "ab") {
		t.Error("a note was not cleaned")
	}
	_, err := s.agent.AddNote(claire.call(t), &messagingpb.AddNoteRequest{Id: id, Text: noteText})
	refused(t, err, codes.InvalidArgument, "IDEMPOTENCY_KEY_REQUIRED", "idempotency-key")
	if n := s.count(t, `SELECT count(*) FROM note`); n != 4 {
		t.Errorf("%d notes", n)
	}
}

// However often and however many at once, one key is one note.
func TestNote_Idempotency(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire := s.member(t, "jeanne"), s.clerk(t, "claire")
	id, other, key := jeanne.submit(t).GetId(), jeanne.submit(t).GetId(), uuid.NewString()
	const callers = 16
	errs := make([]error, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() { errs[i] = second(claire.note(t, id, noteText, key)) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	_, err := claire.note(t, id, noteText+"!", key)
	refused(t, err, codes.AlreadyExists, "IDEMPOTENCY_KEY_REUSED", "")
	_, err = claire.note(t, other, noteText, key)
	refused(t, err, codes.AlreadyExists, "IDEMPOTENCY_KEY_REUSED", "")
	if n := s.count(t, `SELECT count(*) FROM audit WHERE action = 'note'`); n != 1 {
		t.Errorf("%d notes were audited", n)
	}
	// A key is an agent's own, and a note's may be a reply's.
	if got, err := s.clerk(t, "omar").note(t, id, noteText, key); err != nil || len(got.GetNotes()) != 2 {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := s.agent.PostReply(claire.call(t, key), &messagingpb.PostReplyRequest{Id: id, LastMessageId: s.last(t, id), Text: agentText}); err != nil {
		t.Error(err)
	}
}

// Notes are for colleagues: neither a claim nor a closed conversation prevents them. An
// erasure and the limits of the scope do.
func TestNote_Where(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire, omar := s.member(t, "jeanne"), s.clerk(t, "claire"), s.clerk(t, "omar")
	held, closed := jeanne.submit(t).GetId(), jeanne.submit(t).GetId()
	claire.claim(t, held)
	claire.end(t, closed)
	for _, id := range []string{held, closed} {
		if got, err := omar.note(t, id, noteText); err != nil || len(got.GetNotes()) != 1 {
			t.Errorf("%v, %v", got, err)
		}
	}
	for name, claims := range map[string]map[string]any{
		"another caisse": {"caisse": "msa-44"}, "another queue": {"queues": []string{"sante"}}, "no queue": {"queues": nil},
	} {
		t.Log(name)
		_, err := s.clerk(t, "eve", claims).note(t, held, noteText)
		refused(t, err, codes.NotFound, "CONVERSATION_NOT_FOUND", "")
	}
	_, err := claire.note(t, uuid.NewString(), noteText)
	refused(t, err, codes.NotFound, "CONVERSATION_NOT_FOUND", "")
	_, err = jeanne.note(t, held, noteText)
	refused(t, err, codes.PermissionDenied, "ACCESS_DENIED", "")
	if n := s.count(t, `SELECT count(*) FROM note`); n != 2 {
		t.Errorf("%d notes", n)
	}

	if _, err := s.pool.Exec(t.Context(), `UPDATE conversation SET erased_at = now() WHERE id = $1`, closed); err != nil {
		t.Fatal(err)
	}
	_, err = claire.note(t, closed, noteText)
	refused(t, err, codes.FailedPrecondition, "CONVERSATION_ERASED", "")
	_, err = claire.reopen(t, closed)
	refused(t, err, codes.FailedPrecondition, "CONVERSATION_ERASED", "")
}
