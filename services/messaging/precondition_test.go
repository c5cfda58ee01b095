package messaging

import (
	"context"
	"testing"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

// tagged is a call's tag.
func tagged(t *testing.T, header metadata.MD) string {
	t.Helper()
	tags := header.Get("etag")
	if len(tags) != 1 || len(tags[0]) < 10 || tags[0][0] != '"' {
		t.Fatalf("etag %q", tags)
	}
	return tags[0]
}

func withTags(ctx context.Context, tags string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "if-match", tags)
}

// Nobody answers over a message that they have not read.
func TestIfMatch_Conversation(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire := s.member(t, "jeanne"), s.clerk(t, "claire")
	id := jeanne.submit(t).GetId()
	look := func() string {
		t.Helper()
		var header metadata.MD
		if _, err := s.agent.GetConversation(claire.call(t), &messagingpb.AgentServiceGetConversationRequest{Id: id}, grpc.Header(&header)); err != nil {
			t.Fatal(err)
		}
		return tagged(t, header)
	}
	reply := func(key, tags string) (string, error) {
		var header metadata.MD
		_, err := s.agent.PostReply(withTags(claire.call(t, key), tags), &messagingpb.PostReplyRequest{Id: id, LastMessageId: s.last(t, id), Text: agentText}, grpc.Header(&header))
		if err != nil {
			return "", err
		}
		return tagged(t, header), nil
	}
	seen := look()
	if again := look(); again != seen {
		t.Errorf("%s, then %s, though nothing has changed", seen, again)
	}
	if _, err := jeanne.followUp(t, id, uuid.NewString(), "J’ai changé de compte bancaire."); err != nil {
		t.Fatal(err)
	}
	key := uuid.NewString()
	for _, stale := range []string{seen, `"nothing"`, `W/` + look(), `nothing`} {
		_, err := reply(key, stale)
		refused(t, err, codes.FailedPrecondition, "CONVERSATION_CHANGED", "")
	}
	_, err := s.agent.CloseConversation(withTags(claire.call(t), seen), &messagingpb.CloseConversationRequest{Id: id, LastMessageId: s.last(t, id)})
	refused(t, err, codes.FailedPrecondition, "CONVERSATION_CHANGED", "")
	_, err = s.agent.ClaimConversation(withTags(claire.call(t), seen), &messagingpb.ClaimConversationRequest{Id: id})
	refused(t, err, codes.FailedPrecondition, "CONVERSATION_CHANGED", "")

	// A colleague's note changes the answer, and fails nobody's If-Match.
	seen = look()
	if _, err := s.agent.AddNote(s.clerk(t, "paul").call(t, uuid.NewString()), &messagingpb.AddNoteRequest{Id: id, Text: "Vu."}); err != nil {
		t.Fatal(err)
	}
	if noted := look(); noted == seen {
		t.Error("an answer with a note more has the same tag")
	}
	// A claim's answer has the tag to go on with.
	var header metadata.MD
	if _, err := s.agent.ClaimConversation(withTags(claire.call(t), seen), &messagingpb.ClaimConversationRequest{Id: id}, grpc.Header(&header)); err != nil {
		t.Fatal(err)
	}
	_, err = reply(key, seen)
	refused(t, err, codes.FailedPrecondition, "CONVERSATION_CHANGED", "")
	next, err := reply(key, `"other", `+tagged(t, header))
	if err != nil {
		t.Fatal(err)
	}
	// The same again is what was done, not a change of what has changed by it.
	if again, err := reply(key, tagged(t, header)); err != nil || again != next {
		t.Errorf("repeated: %s, %v, want %s", again, err, next)
	}
	if _, err := reply(uuid.NewString(), "*"); err != nil {
		t.Errorf("any: %v", err)
	}
	// Of a member, too; what was sent once is not sent again for having changed it.
	header = nil
	if _, err := s.messaging.GetConversation(jeanne.call(t), &messagingpb.GetConversationRequest{Id: id}, grpc.Header(&header)); err != nil {
		t.Fatal(err)
	}
	mine, more := tagged(t, header), uuid.NewString()
	for range 2 {
		if _, err := s.messaging.PostFollowUp(withTags(jeanne.call(t, more), mine), &messagingpb.PostFollowUpRequest{Id: id, Text: "Merci de votre réponse."}); err != nil {
			t.Errorf("what she has read: %v", err)
		}
	}
	_, err = s.messaging.PostFollowUp(withTags(jeanne.call(t, uuid.NewString()), mine), &messagingpb.PostFollowUpRequest{Id: id, Text: "Merci encore une fois."})
	refused(t, err, codes.FailedPrecondition, "CONVERSATION_CHANGED", "")
}

// Of two windows with one draft, neither overwrites what the other has saved.
func TestIfMatch_Draft(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne := s.member(t, "jeanne")
	id := uuid.NewString()
	save := func(text, tags string) (string, error) {
		var header metadata.MD
		ctx := jeanne.call(t)
		if tags != "" {
			ctx = withTags(ctx, tags)
		}
		_, err := s.messaging.SaveDraft(ctx, &messagingpb.SaveDraftRequest{Id: id, Text: text}, grpc.Header(&header))
		if err != nil {
			return "", err
		}
		return tagged(t, header), nil
	}
	for _, tags := range []string{"*", `"nothing"`} {
		_, err := save("rien", tags)
		refused(t, err, codes.FailedPrecondition, "DRAFT_CHANGED", "") // there is none
	}
	first, err := save("une fenêtre", "")
	if err != nil {
		t.Fatal(err)
	}
	var header metadata.MD
	if _, err := s.messaging.GetDraft(jeanne.call(t), &messagingpb.GetDraftRequest{Id: id}, grpc.Header(&header)); err != nil || tagged(t, header) != first {
		t.Fatalf("read: %v, %v, want %s", header, err, first)
	}
	second, err := save("une fenêtre, plus tard", first)
	if err != nil || second == first {
		t.Fatalf("saved: %s, %v", second, err)
	}
	_, err = save("l’autre fenêtre", first)
	refused(t, err, codes.FailedPrecondition, "DRAFT_CHANGED", "")
	_, err = s.messaging.DeleteDraft(withTags(jeanne.call(t), first), &messagingpb.DeleteDraftRequest{Id: id})
	refused(t, err, codes.FailedPrecondition, "DRAFT_CHANGED", "")
	if got, err := s.messaging.GetDraft(jeanne.call(t), &messagingpb.GetDraftRequest{Id: id}); err != nil || got.GetDraft().GetText() != "une fenêtre, plus tard" {
		t.Errorf("it is %v, %v", got, err)
	}
	if _, err := s.messaging.DeleteDraft(withTags(jeanne.call(t), second), &messagingpb.DeleteDraftRequest{Id: id}); err != nil {
		t.Error(err)
	}
}

// Of many windows that begin one draft, one makes it (RFC 9110, 13.1.2).
func TestIfNoneMatch_Draft(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne := s.member(t, "jeanne")
	id := uuid.NewString()
	save := func(text, tags string, header ...grpc.CallOption) error {
		_, err := s.messaging.SaveDraft(metadata.AppendToOutgoingContext(jeanne.call(t), "if-none-match", tags), &messagingpb.SaveDraftRequest{Id: id, Text: text}, header...)
		return err
	}
	const windows = 8
	results := make(chan error, windows)
	for range windows {
		go func() { results <- save("une fenêtre", "*") }()
	}
	made := 0
	for range windows {
		if err := <-results; err == nil {
			made++
		} else {
			refused(t, err, codes.FailedPrecondition, "DRAFT_EXISTS", "")
		}
	}
	if made != 1 {
		t.Errorf("%d windows have made it", made)
	}
	var header metadata.MD
	if err := save("plus tard", `"nothing"`, grpc.Header(&header)); err != nil {
		t.Fatal(err)
	}
	tag := tagged(t, header)
	for _, tags := range []string{tag, `"nothing", W/` + tag, "*"} {
		refused(t, save("rien", tags), codes.FailedPrecondition, "DRAFT_EXISTS", "")
	}
	if got, err := s.messaging.GetDraft(jeanne.call(t), &messagingpb.GetDraftRequest{Id: id}); err != nil || got.GetDraft().GetText() != "plus tard" {
		t.Errorf("it is %v, %v", got, err)
	}
	// What has lapsed is not there.
	if _, err := s.pool.Exec(t.Context(), `UPDATE draft SET updated_at = now() - interval '8 days' WHERE id = $1`, id); err != nil {
		t.Fatal(err)
	}
	if err := save("à nouveau", "*"); err != nil {
		t.Errorf("in place of one that has lapsed: %v", err)
	}
}
