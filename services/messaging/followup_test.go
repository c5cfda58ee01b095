package messaging

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/ma-messagerie/messagerie/chassis/rpc"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
)

func (c caller) followUp(t *testing.T, id, key, text string) (*messagingpb.Conversation, error) {
	t.Helper()
	resp, err := c.messaging.PostFollowUp(c.call(t, key), &messagingpb.PostFollowUpRequest{Id: id, Text: text})
	return resp.GetConversation(), err
}

func kinds(conversation *messagingpb.Conversation) (list []string) {
	for _, step := range conversation.GetSteps() {
		list = append(list, step.GetKind().String())
	}
	return list
}

func TestFollowUp_ReopensWhatWasAnswered(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire := s.member(t, "jeanne"), s.clerk(t, "claire")
	id := jeanne.submit(t).GetId()
	claire.claim(t, id)
	claire.claim(t, id) // a renewal is no step of its own
	claire.reply(t, id, true)
	after, err := jeanne.followUp(t, id, uuid.NewString(), "Merci, mais "+memberText)
	if err != nil {
		t.Fatal(err)
	}
	if after.GetStatus() != messagingpb.Status_REOPENED || len(after.GetMessages()) != 3 || after.GetMessages()[2].GetText() != "Merci, mais "+memberText ||
		after.GetMessages()[2].GetAuthor() != messagingpb.Author_MEMBER {
		t.Errorf("got %v", after)
	}
	if got, want := strings.Join(kinds(after), " "), "RECEIVED CLAIMED REPLIED FOLLOWED_UP"; got != want {
		t.Errorf("steps %s, want %s", got, want)
	}
	if ids, _ := claire.queue(t, &messagingpb.AgentServiceListConversationsRequest{}); !slices.Contains(ids, id) {
		t.Error("it does not wait for the fund again")
	}
	messagingtest.Eventually(t, "the event is published", func() bool {
		return slices.ContainsFunc(s.published(t), func(m *jetstream.RawStreamMsg) bool {
			return m.Header.Get("ce-type") == "org.ma-messagerie.followup-posted.v1"
		})
	})
	if secret := holdsSecret(s.dump(t)); secret != "" {
		t.Errorf("the database holds %q in clear", secret)
	}
	if acts := s.actions(t, id); slices.Contains(acts, "") {
		t.Errorf("a member's message is in the audit of agents: %v", acts)
	}
}

func TestFollowUp_Statuses(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire := s.member(t, "jeanne"), s.clerk(t, "claire")
	for name, row := range map[string]struct {
		before func(id string)
		want   messagingpb.Status
	}{
		"sent":                      {func(string) {}, messagingpb.Status_SENT},
		"in progress":               {func(id string) { claire.claim(t, id) }, messagingpb.Status_IN_PROGRESS},
		"partly answered, in hands": {func(id string) { claire.claim(t, id); claire.reply(t, id, false) }, messagingpb.Status_PARTLY_ANSWERED},
		"answered":                  {func(id string) { claire.reply(t, id, true) }, messagingpb.Status_REOPENED},
		"answered, in hands again":  {func(id string) { claire.reply(t, id, true); claire.claim(t, id) }, messagingpb.Status_IN_PROGRESS},
	} {
		id := jeanne.submit(t).GetId()
		row.before(id)
		after, err := jeanne.followUp(t, id, uuid.NewString(), memberText)
		if err != nil || after.GetStatus() != row.want {
			t.Errorf("%s: got %v, %v, want %v", name, after.GetStatus(), err, row.want)
		}
	}
}

func TestFollowUp_Refusals(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, paul, claire := s.member(t, "jeanne"), s.member(t, "paul"), s.clerk(t, "claire")
	id, closed := jeanne.submit(t).GetId(), jeanne.submit(t).GetId()
	if _, err := claire.agent.CloseConversation(claire.call(t), &messagingpb.CloseConversationRequest{Id: closed, LastMessageId: s.last(t, closed), Text: closingText}); err != nil {
		t.Fatal(err)
	}
	before := s.rows(t)
	for name, row := range map[string]struct {
		who           caller
		id, key, text string
		code          codes.Code
		reason, field string
	}{
		"nothing":            {jeanne, id, uuid.NewString(), " \x00\n", codes.InvalidArgument, "BODY_TOO_SHORT", "text"},
		"751 characters":     {jeanne, id, uuid.NewString(), strings.Repeat("é", 751), codes.InvalidArgument, "BODY_TOO_LONG", "text"},
		"no key":             {jeanne, id, "", memberText, codes.InvalidArgument, "IDEMPOTENCY_KEY_REQUIRED", "idempotency-key"},
		"another's":          {paul, id, uuid.NewString(), memberText, codes.NotFound, "CONVERSATION_NOT_FOUND", ""},
		"nobody's":           {jeanne, uuid.NewString(), uuid.NewString(), memberText, codes.NotFound, "CONVERSATION_NOT_FOUND", ""},
		"closed":             {jeanne, closed, uuid.NewString(), memberText, codes.FailedPrecondition, "CONVERSATION_CLOSED", ""},
		"an agent's":         {claire, id, uuid.NewString(), memberText, codes.PermissionDenied, "PERMISSION_DENIED", ""},
		"ten zero-width":     {jeanne, id, uuid.NewString(), strings.Repeat("\u200b", 10), codes.InvalidArgument, "BODY_BLANK", "text"},
		"a key that is none": {jeanne, id, "1", memberText, codes.InvalidArgument, "IDEMPOTENCY_KEY_INVALID", "idempotency-key"},
	} {
		_, err := row.who.followUp(t, row.id, row.key, row.text)
		t.Log(name)
		if name == "an agent's" {
			if err == nil {
				t.Error("an agent wrote as a member")
			}
			continue
		}
		refused(t, err, row.code, row.reason, row.field)
	}
	if after := s.rows(t); after != before {
		t.Errorf("refusals changed the tables from %s to %s", before, after)
	}
}

// People answer in a word, and paste what they cannot see; the first message has its ten.
func TestFollowUp_Text(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne := s.member(t, "jeanne")
	id := jeanne.submit(t).GetId()
	for raw, want := range map[string]string{
		"5": "5", "Oui.": "Oui.", memberText + "\u202e": memberText, "\u2068محمد\u2069": "\u2068محمد\u2069", "a\vb\fc": "a\nb\nc", strings.Repeat("é", 750): strings.Repeat("é", 750),
	} {
		after, err := jeanne.followUp(t, id, uuid.NewString(), raw)
		if err != nil {
			t.Errorf("%+q: %v", raw, err)
			continue
		}
		if got := after.GetMessages()[len(after.GetMessages())-1].GetText(); got != want {
			t.Errorf("%+q is stored as %+q", raw, got)
		}
	}
	if _, err := s.pool.Exec(t.Context(), `UPDATE message SET body_chars = 9 WHERE conversation_id = $1 AND idempotency_key IS NULL`, id); err == nil || !strings.Contains(err.Error(), "message_chars_check") {
		t.Errorf("the table takes a first message of nine: %v", err)
	}
}

func TestFollowUp_OnceWhateverTheClicks(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne := s.member(t, "jeanne")
	id, key := jeanne.submit(t).GetId(), uuid.NewString()
	var clicks sync.WaitGroup
	for range 8 {
		clicks.Go(func() {
			if after, err := jeanne.followUp(t, id, key, memberText+"\r\nbis"); err != nil || len(after.GetMessages()) != 2 {
				t.Errorf("got %v, %v", after, err)
			}
		})
	}
	clicks.Wait()
	if _, err := jeanne.followUp(t, id, key, "Un tout autre texte."); err == nil {
		t.Error("the key was taken for another text")
	} else {
		refused(t, err, codes.AlreadyExists, "IDEMPOTENCY_KEY_REUSED", "")
	}
	if n := s.count(t, `SELECT count(*) FROM event_log WHERE type = 'followup-posted'`); n != 1 {
		t.Errorf("%d events, want 1", n)
	}
}

// A key is its caller's own, wherever they use it: of another request of theirs it is refused,
// and somebody else's does not meet it.
func TestKeys_AreTheCallersOwn(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, paul, claire, remi := s.member(t, "jeanne"), s.member(t, "paul"), s.clerk(t, "claire"), s.clerk(t, "remi")
	one, other, pauls := jeanne.submit(t).GetId(), jeanne.submit(t).GetId(), paul.submit(t).GetId()
	key := uuid.NewString()
	for name, row := range map[string]struct {
		mine, elsewhere, anothers error
	}{
		"a submission": {
			second(s.messaging.SubmitMessage(jeanne.call(t, key), question())),
			second(s.messaging.SubmitMessage(jeanne.call(t, key), &messagingpb.SubmitMessageRequest{
				Audience: question().GetAudience(), Theme: question().GetTheme(), Topic: question().GetTopic(), Reason: question().GetReason(),
				TaxonomyVersion: question().GetTaxonomyVersion(), Text: "Une tout autre question.",
			})),
			second(s.messaging.SubmitMessage(paul.call(t, key), question())),
		},
		"a follow-up": {
			second(jeanne.followUp(t, one, key, memberText)), second(jeanne.followUp(t, other, key, memberText)), second(paul.followUp(t, pauls, key, memberText)),
		},
		"a reply": {
			second(s.agent.PostReply(claire.call(t, key), &messagingpb.PostReplyRequest{Id: one, LastMessageId: s.last(t, one), Text: agentText})),
			second(s.agent.PostReply(claire.call(t, key), &messagingpb.PostReplyRequest{Id: other, LastMessageId: s.last(t, other), Text: agentText})),
			second(s.agent.PostReply(remi.call(t, key), &messagingpb.PostReplyRequest{Id: other, LastMessageId: s.last(t, other), Text: agentText})),
		},
		"a note": {
			second(claire.note(t, one, "À rappeler.", key)), second(claire.note(t, other, "À rappeler.", key)), second(remi.note(t, other, "À rappeler.", key)),
		},
	} {
		t.Log(name)
		if row.mine != nil || row.anothers != nil {
			t.Errorf("got %v, and of somebody else %v", row.mine, row.anothers)
		}
		refused(t, row.elsewhere, codes.AlreadyExists, "IDEMPOTENCY_KEY_REUSED", "")
	}
}

// The same key in several conversations at the same moment is good for one of them, whichever
// process of several gets the call.
func TestFollowUp_OneKeyInManyConversations(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	first, second := s.start(t), s.start(t)
	jeanne := s.member(t, "jeanne")
	var ids []string
	for range 8 {
		ids = append(ids, jeanne.at(first).submit(t).GetId())
	}
	for range 4 {
		key, posted := uuid.NewString(), new(atomic.Int32)
		var clicks sync.WaitGroup
		for i, id := range ids {
			clicks.Go(func() {
				who := jeanne.at(first)
				if i%2 == 0 {
					who = jeanne.at(second)
				}
				if _, err := who.followUp(t, id, key, memberText); err != nil {
					refused(t, err, codes.AlreadyExists, "IDEMPOTENCY_KEY_REUSED", "")
					return
				}
				posted.Add(1)
			})
		}
		clicks.Wait()
		if posted.Load() != 1 {
			t.Errorf("the key is taken in %d conversations", posted.Load())
		}
	}
}

// Each keyed method says so when its answer is of an earlier call, and only then.
func TestReplayed(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire := s.member(t, "jeanne"), s.clerk(t, "claire")
	sent := jeanne.submit(t)
	for name, call := range map[string]func(ctx context.Context, header grpc.CallOption) error{
		"submission": func(ctx context.Context, header grpc.CallOption) error {
			_, err := jeanne.messaging.SubmitMessage(ctx, question(), header)
			return err
		},
		"follow-up": func(ctx context.Context, header grpc.CallOption) error {
			_, err := jeanne.messaging.PostFollowUp(ctx, &messagingpb.PostFollowUpRequest{Id: sent.GetId(), Text: "Une précision, s'il vous plaît."}, header)
			return err
		},
		"reply": func(ctx context.Context, header grpc.CallOption) error {
			_, err := claire.agent.PostReply(ctx, &messagingpb.PostReplyRequest{Id: sent.GetId(), LastMessageId: s.last(t, sent.GetId()), Text: "Voici la réponse."}, header)
			return err
		},
		"note": func(ctx context.Context, header grpc.CallOption) error {
			_, err := claire.agent.AddNote(ctx, &messagingpb.AddNoteRequest{Id: sent.GetId(), Text: "À rappeler."}, header)
			return err
		},
	} {
		key, who := uuid.NewString(), jeanne
		if name == "reply" || name == "note" {
			who = claire
		}
		for i, want := range []string{"", "true", "true"} {
			var header metadata.MD
			if err := call(who.call(t, key), grpc.Header(&header)); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if got := strings.Join(header.Get(rpc.ReplayedName), ","); got != want {
				t.Errorf("%s, time %d: replayed %q, want %q", name, i+1, got, want)
			}
		}
	}
}
