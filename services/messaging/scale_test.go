package messaging

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ma-messagerie/messagerie/chassis/testenv"
	"github.com/ma-messagerie/messagerie/chassis/testenv/scale"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/page"
)

// fillAged fills the tables.
func fillAged(ctx context.Context, pool *pgxpool.Pool, from, to int) error {
	if err := messagingtest.Aged("member", "conversation", "message", "event_log")(ctx, pool, from, to); err != nil {
		return err
	}
	// An empty table is read first, which is another plan.
	if _, err := pool.Exec(ctx, `INSERT INTO erased_key (digest) SELECT sha256(convert_to('erased ' || n, 'UTF8')) FROM generate_series($1::int + 1, $2::int) n`, from, to); err != nil || from > 0 {
		return err
	}
	// A theme with so many answers that its sample is full however old the tables are.
	_, err := pool.Exec(ctx, `
		INSERT INTO conversation (id, member_id, idempotency_key, reference, caisse, audience, taxonomy_version, theme, theme_label, topic, reason, queue, queue_label,
			answer_days, status, first_reply_at, created_at, updated_at)
		SELECT gen_random_uuid(), 'member:0', gen_random_uuid(), 'BUSY-' || n, 'msa-75', 1, 1, 'busy', 'Thème', 'topic-' || n % 3, 'reason-' || n % 6, 'queue-1', 'File',
			5, 7, at, at - interval '9 days' * random(), at FROM generate_series(1, 2 * $1) n, LATERAL (SELECT now() - interval '80 days' * random() AS at WHERE n > 0) AS r`, delaySample)
	return err
}

// Every statement of this package reads what it returns, in tables that have grown.
func TestScale(t *testing.T) {
	t.Parallel()
	scale.Tables{URL: testenv.Postgres(t, Migrations), Fill: fillAged, Rows: scaleRows}.Test(t)
}

func scaleRows(pool, aside *pgxpool.Pool) []scale.Row {
	s := newStore(pool)
	failed := func(_ any, err error) error { return err }
	read := func(of string, do func(ctx context.Context, n int) error) scale.Row {
		return scale.Row{Of: []string{of}, Run: do}
	}
	// pick reads of a conversation in a status, another each time.
	pick := func(of string, status messagingpb.Status, do func(ctx context.Context, row messagingtest.Picked) error) scale.Row {
		return read(of, func(ctx context.Context, n int) error {
			row, err := messagingtest.Pick(ctx, aside, int(status), n)
			if err != nil {
				return err
			}
			return do(ctx, row)
		})
	}
	const sent, answered, closed = messagingpb.Status_SENT, messagingpb.Status_ANSWERED, messagingpb.Status_CLOSED
	middle := page.Key{At: time.Now().AddDate(-1, 0, 0)}
	return []scale.Row{
		read("store.insertSubmissions", func(ctx context.Context, n int) error {
			var batch []*submission
			for i := range 32 {
				batch = append(batch, newSubmission(fmt.Sprintf("member:%d", 32*n+i), uuid.New()))
			}
			return failed(s.insertSubmissions(ctx, batch))
		}),
		pick("store.submitted", sent, func(ctx context.Context, row messagingtest.Picked) error {
			var key uuid.UUID
			if err := aside.QueryRow(ctx, `SELECT idempotency_key FROM conversation WHERE id = $1`, row.ID).Scan(&key); err != nil {
				return err
			}
			_, _, err := s.submitted(ctx, row.MemberID, key)
			return err
		}),
		pick("store.asSubmitted", sent, func(ctx context.Context, row messagingtest.Picked) error {
			return s.asSubmitted(ctx, &conversation.Row{Opened: conversation.Opened{ID: row.ID}})
		}),
		read("store.conversationsOf", func(ctx context.Context, n int) error {
			member := fmt.Sprintf("member:%d", n)
			var faults []error
			for _, l := range []list{
				{},
				{audience: 1, place: &page.Place{Key: middle}},
				{place: &page.Place{Key: middle, Before: true}},
				{unreadFirst: true},
				{unreadFirst: true, place: &page.Place{Key: middle, Second: true}},
				{unreadFirst: true, place: &page.Place{Key: middle, Second: true, Before: true}},
				{search: true, reference: fmt.Sprintf("AGED-%d", 20*n), words: []string{"theme"}},
				// Of a member with as many conversations as nobody has.
				{member: "member:0"},
				{member: "member:0", unreadFirst: true},
				{member: "member:0", unreadFirst: true, place: &page.Place{Key: middle, Second: true, Before: true}},
			} {
				l.member, l.limit = cmp.Or(l.member, member), 21
				faults = append(faults, failed(s.conversationsOf(ctx, l)))
			}
			return errors.Join(faults...)
		}),
		pick("store.setHidden", closed, func(ctx context.Context, row messagingtest.Picked) error {
			var hidden bool
			if err := aside.QueryRow(ctx, `SELECT hidden FROM conversation WHERE id = $1`, row.ID).Scan(&hidden); err != nil {
				return err
			}
			_, _, err := s.setHidden(ctx, row.MemberID, row.ID, !hidden)
			return err
		}),
		pick("store.markRead", answered, func(ctx context.Context, row messagingtest.Picked) error {
			_, _, err := s.markRead(ctx, row.MemberID, row.ID, row.LastReplyID)
			return err
		}),
		pick("store.followedUp", sent, func(ctx context.Context, row messagingtest.Picked) error {
			if _, err := s.followedUp(ctx, row.MemberID, uuid.New()); !errors.Is(err, pgx.ErrNoRows) {
				return err
			}
			return nil
		}),
		read("delays", func(ctx context.Context, n int) error {
			return failed(delays(ctx, pool, "msa-75", &messagingpb.SubmitMessageRequest{
				Audience: taxonomypb.Audience(1), Theme: fmt.Sprintf("theme-%d", n), Topic: fmt.Sprintf("topic-%d", n), Reason: fmt.Sprintf("reason-%d", n),
			}))
		}),
		{Run: func(ctx context.Context, n int) error {
			return failed(delays(ctx, pool, "msa-75", &messagingpb.SubmitMessageRequest{
				Audience: taxonomypb.Audience(1), Theme: "busy", Topic: fmt.Sprintf("topic-%d", n%3), Reason: fmt.Sprintf("reason-%d", n%6),
			}))
		}},
	}
}
