package messaging

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/member"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/text"
)

// export collects all pieces of an export.
func (c caller) export(t *testing.T) (preferences int, drafts, texts []string) {
	t.Helper()
	stream, err := c.messaging.ExportMyData(c.call(t), &messagingpb.ExportMyDataRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for {
		piece, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return preferences, drafts, texts
		}
		if err != nil {
			t.Fatal(err)
		}
		if piece.GetPreferences().GetAccountEmail() != "" {
			preferences++
		}
		if piece.GetDraft() != nil {
			drafts = append(drafts, piece.GetDraft().GetText())
		}
		for _, message := range piece.GetConversation().GetMessages() {
			texts = append(texts, message.GetText())
		}
	}
}

func TestExport(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, paul, claire := s.member(t, "jeanne"), s.member(t, "paul"), s.clerk(t, "claire")
	paul.submit(t)
	for i := range member.ExportPage + 1 { // more than one page
		id := jeanne.submit(t).GetId()
		if i == 0 {
			claire.reply(t, id, true)
		}
		if i == 1 {
			if _, err := jeanne.messaging.HideConversation(jeanne.call(t), &messagingpb.HideConversationRequest{Id: id}); err != nil {
				t.Fatal(err)
			}
		}
	}
	jeanne.draft(t, uuid.NewString(), "Un brouillon")
	preferences, drafts, texts := jeanne.export(t)
	if preferences != 1 || len(drafts) != 1 || drafts[0] != "Un brouillon" {
		t.Errorf("%d preferences, drafts %v", preferences, drafts)
	}
	if len(texts) != member.ExportPage+2 || strings.Count(strings.Join(texts, "\n"), memberText) != member.ExportPage+1 || strings.Count(strings.Join(texts, "\n"), agentText) != 1 {
		t.Errorf("%d texts, want %d: every message, hidden or not, and nobody else's", len(texts), member.ExportPage+2)
	}
}

// What changes while an export is read is in it, and once: what moves to the front of the
// member's list, and what moves to another list.
func TestExport_OfWhatChanges(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	// A window that does not grow, so that most of it is read after the changes.
	conn := s.launch(t, grpc.WithInitialWindowSize(64<<10))
	if _, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true)); err != nil {
		t.Fatal(err)
	}
	jeanne := s.member(t, "jeanne")
	var ids []string
	for range 6 * member.ExportPage {
		long := func(req *messagingpb.SubmitMessageRequest) { req.Text = strings.Repeat("é", text.OfMember.Max) }
		ids = append(ids, jeanne.submit(t, long).GetId())
	}
	stream, err := jeanne.messaging.ExportMyData(jeanne.call(t), &messagingpb.ExportMyDataRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Header(); err != nil { // it has begun
		t.Fatal(err)
	}
	seen := make(map[string]int)
	for range member.ExportPage / 2 {
		piece, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if id := piece.GetConversation().GetId(); id != "" {
			seen[id]++
		}
	}
	// In whatever order it reads, it has come to some of these and not to others.
	for i, id := range ids {
		switch i % 3 {
		case 0:
			if _, err := jeanne.followUp(t, id, uuid.NewString(), memberText); err != nil {
				t.Fatal(err)
			}
		case 1:
			if _, err := jeanne.messaging.HideConversation(jeanne.call(t), &messagingpb.HideConversationRequest{Id: id}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for {
		piece, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		seen[piece.GetConversation().GetId()]++
	}
	missed, doubled := 0, 0
	for _, id := range ids {
		missed += max(0, 1-seen[id])
		doubled += max(0, seen[id]-1)
	}
	if missed > 0 || doubled > 0 {
		t.Errorf("of %d conversations %d are missed, %d doubled", len(ids), missed, doubled)
	}
}

func TestErase(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, paul, claire := s.member(t, "jeanne"), s.member(t, "paul"), s.clerk(t, "claire")
	answered, waiting, pauls := jeanne.submit(t).GetId(), jeanne.submit(t).GetId(), paul.submit(t).GetId()
	claire.reply(t, answered, true)
	claire.claim(t, waiting)
	jeanne.draft(t, uuid.NewString(), memberText)
	jeanne.prefer(t, &messagingpb.Preferences{Email: "autre@canari.example", Locale: "fr"})

	_, err := jeanne.messaging.EraseMyData(jeanne.call(t), &messagingpb.EraseMyDataRequest{})
	refused(t, err, codes.InvalidArgument, "CONFIRMATION_REQUIRED", "confirm")
	for want := range []int32{1: 0} { // 2 the first time, none the second
		resp, err := jeanne.messaging.EraseMyData(jeanne.call(t), &messagingpb.EraseMyDataRequest{Confirm: true})
		if err != nil || (resp.GetConversations() == 2) != (want == 0) {
			t.Fatalf("call %d: got %v, %v", want, resp, err)
		}
	}
	refused(t, second(jeanne.messaging.GetConversation(jeanne.call(t), &messagingpb.GetConversationRequest{Id: answered})), codes.NotFound, "CONVERSATION_NOT_FOUND", "")
	if _, drafts, texts := jeanne.export(t); len(drafts)+len(texts) != 0 {
		t.Errorf("still there: %v %v", drafts, texts)
	}
	// No key, no text, no name in any row of hers; Paul's is whole.
	if n := s.count(t, `SELECT count(*) FROM conversation c LEFT JOIN message m ON m.conversation_id = c.id
		WHERE c.id IN ($1, $2) AND (c.member_id LIKE '%jeanne%' OR c.data_key IS NOT NULL OR m.body <> '' OR c.erased_at IS NULL OR c.status <> 7 OR c.claimed_by IS NOT NULL)`, answered, waiting); n != 0 {
		t.Errorf("%d rows were not erased", n)
	}
	if strings.Contains(s.dump(t), "jeanne") {
		t.Error("her identity is still in the database")
	}
	if got := paul.see(t, pauls); got.GetMessages()[0].GetText() != memberText {
		t.Errorf("another member's: %v", got)
	}
	// Who notifies finds nobody, agents find that it was erased, and figures remain.
	if to := s.recipient(t, waiting); to != nil {
		t.Errorf("recipient %v", to)
	}
	seen, err := claire.agent.GetConversation(claire.call(t), &messagingpb.AgentServiceGetConversationRequest{Id: answered})
	if err != nil || !seen.GetConversation().GetErased() || seen.GetConversation().GetMessages()[0].GetText() != "" || seen.GetConversation().GetTheme().GetCode() == "" {
		t.Errorf("an agent sees %v, %v", seen, err)
	}
	if n := s.count(t, `SELECT count(*) FROM event_log WHERE type = 'conversation-erased'`); n != 2 {
		t.Errorf("%d events, want 2", n)
	}
	messagingtest.Eventually(t, "the events are relayed", func() bool { return s.count(t, `SELECT count(*) FROM outbox`) == 0 })
	// She may write again.
	jeanne.submit(t)
}

// A submission that is repeated after its member had everything erased is not made anew;
// another member's with the same key, or a new one, is.
func TestErase_RefusesRepeats(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, paul := s.member(t, "jeanne"), s.member(t, "paul")
	key := uuid.NewString()
	ask := func(who caller, key string) (*messagingpb.SubmitMessageResponse, error) {
		return s.messaging.SubmitMessage(who.call(t, key), question())
	}
	if _, err := ask(jeanne, key); err != nil {
		t.Fatal(err)
	}
	if _, err := s.messaging.EraseMyData(jeanne.call(t), &messagingpb.EraseMyDataRequest{Confirm: true}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, err := ask(jeanne, key)
		refused(t, err, codes.FailedPrecondition, "CONVERSATION_ERASED", "")
	}
	if _, err := ask(paul, key); err != nil {
		t.Errorf("another member with the same key: %v", err)
	}
	if _, err := ask(jeanne, uuid.NewString()); err != nil {
		t.Errorf("a new one: %v", err)
	}
	if _, err := s.pool.Exec(t.Context(), `UPDATE erased_key SET erased_at = now() - interval '31 days'`); err != nil {
		t.Fatal(err)
	}
	if n, err := member.ForgetErasedKeys(t.Context(), s.pool, member.ErasedKeyLife); n != 1 || err != nil {
		t.Errorf("%d keys are forgotten, %v", n, err)
	}
}

// A repeat that comes while the erasure is under way waits for it, and is not made anew.
func TestErase_RefusesRepeatsMeanwhile(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, paul := s.member(t, "jeanne"), s.member(t, "paul")
	key := uuid.NewString()
	if _, err := s.messaging.SubmitMessage(jeanne.call(t, key), question()); err != nil {
		t.Fatal(err)
	}
	// The erasure comes as far as her tickets, behind her conversations.
	if _, err := s.pool.Exec(t.Context(), `INSERT INTO watch_ticket (digest, subject, identity) SELECT '', id, '{}' FROM member WHERE id LIKE '%jeanne'`); err != nil {
		t.Fatal(err)
	}
	release := s.hold(t, `SELECT FROM watch_ticket WHERE subject LIKE '%jeanne' FOR UPDATE`)
	erased, repeated, other := make(chan error, 1), make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := s.messaging.EraseMyData(jeanne.call(t), &messagingpb.EraseMyDataRequest{Confirm: true})
		erased <- err
	}()
	waiting := func(statement string) {
		messagingtest.Eventually(t, statement+" waits for a transaction", func() bool {
			return s.count(t, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'transactionid' AND query LIKE '%' || $1 || '%'`, statement) > 0
		})
	}
	waiting("DELETE FROM watch_ticket")
	go func() {
		_, err := s.messaging.SubmitMessage(jeanne.call(t, key), question())
		repeated <- err
	}()
	waiting("INSERT INTO conversation")
	// Behind it, perhaps of its batch, is another member's with the same key.
	go func() {
		_, err := s.messaging.SubmitMessage(paul.call(t, key), question())
		other <- err
	}()
	release()
	if err := <-erased; err != nil {
		t.Fatal(err)
	}
	refused(t, <-repeated, codes.FailedPrecondition, "CONVERSATION_ERASED", "")
	if err := <-other; err != nil {
		t.Errorf("another member's: %v", err)
	}
	if n := s.count(t, `SELECT count(*) FROM conversation WHERE member_id LIKE '%jeanne'`); n != 0 {
		t.Errorf("%d conversations were made anew", n)
	}
}

// What comes in while its member has everything erased is either erased and known by its key,
// or not erased.
func TestErase_KnowsAllKeys(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne := s.member(t, "jeanne")
	jeanne.submit(t)
	const digest = `sha256(convert_to(replace($1, '%', member_id) || ' ' || idempotency_key::text, 'UTF8'))`
	var subject string
	if err := s.pool.QueryRow(t.Context(), `SELECT member_id FROM conversation`).Scan(&subject); err != nil {
		t.Fatal(err)
	}
	// The erasure waits where it writes the keys down.
	release := s.hold(t, `INSERT INTO erased_key (digest) SELECT `+digest+` FROM conversation`, "%")
	erased := make(chan error, 1)
	go func() {
		_, err := s.messaging.EraseMyData(jeanne.call(t), &messagingpb.EraseMyDataRequest{Confirm: true})
		erased <- err
	}()
	s.blocked(t)
	jeanne.submit(t)
	release()
	if err := <-erased; err != nil {
		t.Fatal(err)
	}
	if missing := s.count(t, `SELECT count(*) FROM conversation WHERE member_id LIKE 'erased:%' AND NOT EXISTS (SELECT FROM erased_key WHERE digest = `+digest+`)`, subject); missing != 0 {
		t.Errorf("the keys of %d erased conversations are not known", missing)
	}
}

// What was erased meanwhile is not answered any more. A repeat of a reply that is stored is told
// so all the same, though there is no text any more to compare it with.
func TestErase_RefusesReplies(t *testing.T) {
	t.Parallel()
	s := running(t)
	jeanne, claire := s.member(t, "jeanne"), s.clerk(t, "claire")
	id, key := jeanne.submit(t).GetId(), uuid.NewString()
	reply := func(key string) error {
		_, err := s.agent.PostReply(claire.call(t, key), &messagingpb.PostReplyRequest{Id: id, LastMessageId: s.last(t, id), Text: agentText})
		return err
	}
	if err := reply(key); err != nil {
		t.Fatal(err)
	}
	if _, err := s.messaging.EraseMyData(jeanne.call(t), &messagingpb.EraseMyDataRequest{Confirm: true}); err != nil {
		t.Fatal(err)
	}
	if err := reply(key); err != nil {
		t.Errorf("the same reply: %v", err)
	}
	for what, err := range map[string]error{
		"another reply": reply(uuid.NewString()),
		"a claim":       second(s.agent.ClaimConversation(claire.call(t), &messagingpb.ClaimConversationRequest{Id: id})),
	} {
		t.Log(what)
		refused(t, err, codes.FailedPrecondition, "CONVERSATION_ERASED", "")
	}
}
