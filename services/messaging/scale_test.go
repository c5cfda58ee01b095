package messaging

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
	"github.com/ma-messagerie/messagerie/chassis/testenv/scale"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
)

// fillAged fills the tables.
func fillAged(ctx context.Context, pool *pgxpool.Pool, from, to int) error {
	s := &store{pool}
	if err := messagingtest.Aged()(ctx, pool, from, to); err != nil {
		return err
	}
	if from == 0 { // a theme that is asked for so much that its sample is full however old the tables are
		if _, err := pool.Exec(ctx, `
			INSERT INTO conversation (id, member_id, idempotency_key, reference, caisse, audience, taxonomy_version, theme, theme_label, topic, reason, queue, queue_label,
				answer_days, status, first_reply_at, data_key, created_at, updated_at)
			SELECT gen_random_uuid(), 'member:0', gen_random_uuid(), 'BUSY-' || n, 'msa-75', 1, 1, 'busy', 'Thème', 'topic-' || n % 3, 'reason-' || n % 6, 'queue-1', 'File',
				5, 7, at, '\x00', at - interval '9 days' * random(), at FROM generate_series(1, 2 * $1) n, LATERAL (SELECT now() - interval '80 days' * random() AS at WHERE n > 0) AS r`, delaySample); err != nil {
			return err
		}
	}
	if _, err := pool.Exec(ctx, `DELETE FROM backfill WHERE name = $1`, countWaiting); err != nil {
		return err
	}
	if _, err := pool.Exec(ctx, `TRUNCATE submission_slot`); err != nil {
		return err
	}
	_, err := s.backfill(ctx, backfills[1], backfillBatch)
	return errors.Join(err, s.foldSubmissions(ctx))
}

// Every statement of this service reads what it returns, in tables that have grown.
func TestScale(t *testing.T) {
	t.Parallel()
	scale.Tables{
		URL: testenv.Postgres(t, Migrations), Fill: fillAged, Rows: scaleRows,
	}.Test(t)
}

//nolint:maintidx // a list
func scaleRows(pool, aside *pgxpool.Pool) []scale.Row {
	s := &store{pool}
	all := conversation.Scope{Caisse: "msa-75", AllQueues: true}
	mine := conversation.Scope{Caisse: "msa-75", Queues: []string{"queue-1", "queue-3"}}
	// some is the id of a conversation, another each time.
	some := func(ctx context.Context, n int, status messagingpb.Status) (row conversation.Row, err error) {
		return postgres.One[conversation.Row](ctx, aside, "reading a conversation", `SELECT `+conversation.Columns+` FROM conversation WHERE caisse = 'msa-75' AND status = $1 ORDER BY created_at DESC OFFSET $2 LIMIT 1`, int16(status), n)
	}
	read := func(of string, do func(ctx context.Context, n int) error) scale.Row {
		return scale.Row{Of: []string{of}, Run: do}
	}
	failed := func(_ any, err error) error { return err }
	ids := func(ctx context.Context, n int) ([]uuid.UUID, error) {
		rows, err := (&store{aside}).waiting(ctx, all, queueFilter{limit: 20 + n})
		var list []uuid.UUID
		for _, row := range rows {
			list = append(list, row.ID)
		}
		return list, err
	}
	lists := func(name string, sc conversation.Scope, f queueFilter) scale.Row {
		f.limit = 21
		return scale.Row{Of: []string{name}, Run: func(ctx context.Context, _ int) error { return failed(s.waiting(ctx, sc, f)) }}
	}
	middle := &pageKey{at: time.Now().AddDate(-1, 0, 0)}
	statuses := func(list ...messagingpb.Status) (numbers []int16) {
		for _, status := range list {
			numbers = append(numbers, int16(status))
		}
		return numbers
	}
	const sent, working, answered, closed = messagingpb.Status_SENT, messagingpb.Status_IN_PROGRESS, messagingpb.Status_ANSWERED, messagingpb.Status_CLOSED
	rows := []scale.Row{
		// What members do.
		read("store.insertSubmissions", func(ctx context.Context, n int) error {
			var batch []*submission
			for i := range 32 {
				batch = append(batch, newSubmission(fmt.Sprintf("member:%d", 32*n+i), uuid.New()))
			}
			return failed(s.insertSubmissions(ctx, batch))
		}),
		read("store.submitted", func(ctx context.Context, n int) error {
			row, err := some(ctx, n, sent)
			if err != nil {
				return err
			}
			var key uuid.UUID
			if err := aside.QueryRow(ctx, `SELECT idempotency_key FROM conversation WHERE id = $1`, row.ID).Scan(&key); err != nil {
				return err
			}
			_, _, err = s.submitted(ctx, row.MemberID, key)
			return err
		}),
		read("store.conversationsOf", func(ctx context.Context, n int) error {
			member := fmt.Sprintf("member:%d", n)
			_, err1 := s.conversationsOf(ctx, member, false, 0, nil, 21)
			_, err2 := s.conversationsOf(ctx, member, false, 1, middle, 21)
			return errors.Join(err1, err2)
		}),
		read("store.allOfMember", func(ctx context.Context, n int) error { return failed(s.allOfMember(ctx, fmt.Sprintf("member:%d", n))) }),
		read("store.someOfMember", func(ctx context.Context, n int) error {
			member := fmt.Sprintf("member:%d", n)
			ids, err1 := (&store{aside}).allOfMember(ctx, member)
			_, err2 := s.someOfMember(ctx, member, ids[:min(len(ids), exportPage)])
			return errors.Join(err1, err2)
		}),
		read("store.setHidden", func(ctx context.Context, n int) error {
			row, err := some(ctx, n, closed)
			_, _, fault := s.setHidden(ctx, row.MemberID, row.ID, !row.Hidden)
			return errors.Join(err, fault)
		}),
		read("store.markRead", func(ctx context.Context, n int) error {
			row, err := some(ctx, n, answered)
			_, _, fault := s.markRead(ctx, row.MemberID, row.ID, row.LastReplyID)
			return errors.Join(err, fault)
		}),
		read("store.followedUp", func(ctx context.Context, n int) error {
			row, err := some(ctx, n, sent)
			if _, none := s.followedUp(ctx, row.MemberID, uuid.New()); !errors.Is(none, errNotFound) {
				err = errors.Join(err, none)
			}
			return err
		}),
		read("store.delays", func(ctx context.Context, n int) error {
			return failed(s.delays(ctx, "msa-75", &messagingpb.SubmitMessageRequest{
				Audience: taxonomypb.Audience(1), Theme: fmt.Sprintf("theme-%d", n), Topic: fmt.Sprintf("topic-%d", n), Reason: fmt.Sprintf("reason-%d", n),
			}))
		}),
		{Run: func(ctx context.Context, n int) error {
			return failed(s.delays(ctx, "msa-75", &messagingpb.SubmitMessageRequest{
				Audience: taxonomypb.Audience(1), Theme: "busy", Topic: fmt.Sprintf("topic-%d", n%3), Reason: fmt.Sprintf("reason-%d", n%6),
			}))
		}},
		{Of: []string{"store.saveDraft"}, Run: func(ctx context.Context, n int) error {
			return failed(s.saveDraft(ctx, nil, nil, draftRow{MemberID: fmt.Sprintf("member:%d", n), ID: uuid.New(), Body: []byte("x")}))
		}},
		{Of: []string{"lockDraft"}, Run: func(ctx context.Context, n int) error {
			d := draftRow{MemberID: fmt.Sprintf("member:%d", n), ID: uuid.New(), Body: []byte("x")}
			if _, err := s.saveDraft(ctx, nil, nil, d); err != nil {
				return err
			}
			return s.deleteDraft(ctx, &precondition{any: true}, d.MemberID, d.ID)
		}},
		read("store.draft", func(ctx context.Context, n int) error {
			if _, err := s.draft(ctx, fmt.Sprintf("member:%d", n), uuid.New()); !errors.Is(err, errNotFound) {
				return err
			}
			return nil
		}),
		read("store.drafts", func(ctx context.Context, n int) error {
			return failed(s.drafts(ctx, fmt.Sprintf("member:%d", n), nil, draftsMost))
		}),
		read("store.deleteDraft", func(ctx context.Context, n int) error {
			return s.deleteDraft(ctx, nil, fmt.Sprintf("member:%d", n), uuid.New())
		}),
		read("store.forgetDrafts", func(ctx context.Context, _ int) error { return failed(s.forgetDrafts(ctx, draftLife)) }),
		read("store.checkErased", func(ctx context.Context, n int) error {
			if err := s.checkErased(ctx, fmt.Sprintf("member:%d", n), uuid.New()); !errors.Is(err, errNotFound) {
				return err
			}
			return nil
		}),
		read("store.forgetErasedKeys", func(ctx context.Context, _ int) error { return failed(s.forgetErasedKeys(ctx, erasedKeyLife)) }),
		read("store.membersNamed", func(ctx context.Context, n int) error {
			return failed(s.membersNamed(ctx, []string{fmt.Sprintf("member:%d", n), "member:0"}))
		}),
		read("store.saveMember", func(ctx context.Context, n int) error {
			return s.saveMember(ctx, fmt.Sprintf("member:%d", n), []byte("x"), "fr")
		}),
		read("store.preferences", func(ctx context.Context, n int) error { return failed(s.preferences(ctx, fmt.Sprintf("member:%d", n))) }),
		read("store.changePreferences", func(ctx context.Context, n int) error {
			return s.changePreferences(ctx, fmt.Sprintf("member:%d", n), func(*preferenceRow) error { return nil })
		}),
		{Of: []string{"store.eraseMember", "store.eraseRows"}, Planless: 0, Run: func(ctx context.Context, n int) error {
			return failed(s.eraseMember(ctx, fmt.Sprintf("member:%d", 40+n)))
		}},

		// What agents do.
		lists("store.waiting", all, queueFilter{}),
		{Of: []string{"store.readForAgent"}, Run: func(ctx context.Context, n int) error {
			row, err := some(ctx, n, working)
			_, fault := s.readForAgent(ctx, all, "claire", row.ID)
			return errors.Join(err, fault)
		}},
		read("store.replied", func(ctx context.Context, n int) error {
			if _, err := s.replied(ctx, "claire", uuid.New()); !errors.Is(err, errNotFound) {
				return err
			}
			return nil
		}),
		read("store.asSubmitted", func(ctx context.Context, n int) error {
			row, err := some(ctx, n, sent)
			return errors.Join(err, s.asSubmitted(ctx, &row))
		}),
		{Of: []string{"store.addNote"}, Planless: 1, Run: func(ctx context.Context, n int) error { // the third is for a note that is there
			row, err := some(ctx, n, sent)
			_, _, fault := s.addNote(ctx, all, conversation.Note{ID: uuid.Must(uuid.NewV7()), ConversationID: row.ID, AgentID: "claire", AgentName: "Claire"}, uuid.New(), 10,
				func([]byte) ([]byte, error) { return []byte("x"), nil })
			return errors.Join(err, fault)
		}},
		read("store.templates", func(ctx context.Context, _ int) error { return failed(s.templates(ctx, "msa-75", "queue-1")) }),
		read("putTemplate", func(ctx context.Context, n int) error {
			return failed(s.saveTemplate(ctx, "msa-75", "claire", templateRow{ID: uuid.New(), Title: fmt.Sprint("titre ", n), Text: "x"}))
		}),
		read("store.deleteTemplate", func(ctx context.Context, _ int) error { return s.deleteTemplate(ctx, "msa-75", uuid.New()) }),
		read("store.audienceFor", func(ctx context.Context, n int) error {
			row, err := some(ctx, n, sent)
			return errors.Join(err, failed(s.audienceFor(ctx, all, row.ID)))
		}),
		read("store.withinScope", func(ctx context.Context, n int) error {
			row, err := some(ctx, n, sent)
			return errors.Join(err, s.withinScope(ctx, all, row.ID))
		}),

		// Figures.
		read("store.waitingByQueue", func(ctx context.Context, _ int) error { return failed(s.waitingByQueue(ctx, all)) }),
		read("store.queueState", func(ctx context.Context, _ int) error { return failed(s.queueState(ctx)) }),
		{Of: []string{"store.status"}, Planless: 1, Run: func(ctx context.Context, _ int) error { return failed(s.status(ctx, uuid.Nil)) }},
		{Of: []string{"store.statistics"}, Planless: 2, Reads: "the conversations of a year", Run: func(ctx context.Context, _ int) error {
			return failed(s.statistics(ctx, all, "", 366))
		}},

		// What goes on behind.
		read("store.recipients", func(ctx context.Context, n int) error {
			list, err := ids(ctx, n)
			return errors.Join(err, failed(s.recipients(ctx, list)))
		}),
		{Of: []string{"store.backfill"}, Planless: 0, Run: func(ctx context.Context, n int) error {
			if _, err := aside.Exec(ctx, `DELETE FROM backfill WHERE name = $1`, backfills[0].name); err != nil {
				return err
			}
			return failed(s.backfill(ctx, backfills[0], backfillBatch))
		}},
		read("store.foldWaiting", func(ctx context.Context, _ int) error { return s.foldWaiting(ctx) }),
		read("store.foldSubmissions", func(ctx context.Context, _ int) error { return s.foldSubmissions(ctx) }),
		{Of: []string{"store.forgetConversations", "forgetConversations"}, Reads: "what it deletes, of which small tables have little", Run: func(ctx context.Context, _ int) error {
			return failed(s.forgetConversations(ctx, 2*366*24*time.Hour))
		}},
		read("store.forgetMembers", func(ctx context.Context, _ int) error { return failed(s.forgetMembers(ctx, 366*24*time.Hour)) }),
		read("store.forgetAudit", func(ctx context.Context, _ int) error { return failed(s.forgetAudit(ctx, 366*24*time.Hour)) }),
	}
	// The lists of agents, first pages and others.
	for _, f := range []queueFilter{
		{after: middle},
		{theme: "theme-3"},
		{theme: "of-which-none-waits"},
		{queue: "queue-1"},
		{topic: "topic-7"},
		{theme: "theme-3", topic: "topic-3", queue: "queue-2", after: middle},
		{theme: "theme-3", statuses: statuses(answered)},
		{topic: "of-which-there-is-none", statuses: statuses(sent, answered, closed)},
		{statuses: statuses(sent)},
		{statuses: statuses(messagingpb.Status_REOPENED, messagingpb.Status_PARTLY_ANSWERED)},
		{statuses: statuses(answered)},
		{statuses: statuses(messagingpb.Status_WAITING_FOR_MEMBER)},
		{statuses: statuses(answered, closed), after: middle},
		{statuses: statuses(sent, answered)},
	} {
		f.limit = 21
		for _, sc := range []conversation.Scope{all, mine} {
			rows = append(rows, scale.Row{Run: func(ctx context.Context, _ int) error { return failed(s.waiting(ctx, sc, f)) }})
		}
	}
	return rows
}
