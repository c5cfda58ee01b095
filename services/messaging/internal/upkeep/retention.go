package upkeep

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/draft"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/lifecycle"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/member"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/outbox"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/uuidv7"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/watch"
)

const (
	// LeastConversation is the shortest term of conversations: figures reach back so far.
	LeastConversation = 366 * 24 * time.Hour
	// LeastAudit is the shortest term of the audit: who looks into it does so for what
	// happened lately.
	LeastAudit = 30 * 24 * time.Hour
)

// terms are those of this service's tables. Days of the event log are dropped whole
// (outbox.KeepDays), but for what came into the partition that is for no day; what is kept of the
// taxonomy is as much as there are publications.
func (u *Upkeep) terms() []postgres.Term {
	return []postgres.Term{
		{What: "conversations", Keep: u.Conversations, Step: u.forgetConversations},
		{What: "members without a conversation", Keep: u.Conversations, Step: u.forgetMembers},
		{What: "audit", Keep: u.Audit, Step: u.forgetAudit},
		{What: "drafts", Keep: draft.Life, Step: func(ctx context.Context, term time.Duration) (int64, error) { return draft.Forget(ctx, u.DB, term) }},
		{What: "keys of what was erased", Keep: member.ErasedKeyLife, Step: func(ctx context.Context, term time.Duration) (int64, error) {
			return member.ForgetErasedKeys(ctx, u.DB, term)
		}},
		{What: "watch tickets", Keep: watch.TicketLife, Step: watch.NewTickets(u.DB).Forget},
		{What: "refused events", Keep: u.EventLog, Step: outbox.New(u.DB).ForgetRefused},
		{What: "events of no day", Keep: u.EventLog, Step: outbox.New(u.DB).ForgetDayless},
	}
}

// forgetConversations deletes some of the conversations that have ended and in which nothing
// has happened for longer, no note was written either, oldest first, with their messages,
// notes and steps, and members who have no others. Ids are in the order of time, so that
// only the first are looked at; what is that old and still waits for the fund is not
// deleted. It returns how many conversations it deleted. One process does at a time, or two
// would each leave a member to the other.
func (u *Upkeep) forgetConversations(ctx context.Context, term time.Duration) (n int64, err error) {
	err = pgx.BeginFunc(ctx, u.DB, func(tx pgx.Tx) error {
		var alone bool
		if err := tx.QueryRow(ctx, `SELECT pg_try_advisory_xact_lock('conversation'::regclass::oid::bigint)`).Scan(&alone); err != nil || !alone {
			return err
		}
		n, err = forgetConversations(ctx, tx, term)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("forgetting conversations: %w", err)
	}
	return n, nil
}

func forgetConversations(ctx context.Context, tx pgx.Tx, term time.Duration) (n int64, err error) {
	// A member who writes at this moment has confirmed their row within a day (member.SaveAccount);
	// the second day is for a submission under way. One who was here lately stays.
	err = tx.QueryRow(ctx, `
		WITH old AS MATERIALIZED (
			SELECT id, member_id FROM conversation AS c
			WHERE id < $1 AND `+lifecycle.EndedSQL+` AND updated_at < now() - $2::interval
			  AND NOT EXISTS (SELECT FROM note WHERE conversation_id = c.id AND created_at >= now() - $2::interval)
			ORDER BY id LIMIT $3 FOR UPDATE SKIP LOCKED
		), ids AS (
			SELECT ARRAY(SELECT id FROM old) AS list
		), messages AS (
			DELETE FROM message WHERE conversation_id = ANY ((SELECT list FROM ids)::uuid[])
		), notes AS (
			DELETE FROM note WHERE conversation_id = ANY ((SELECT list FROM ids)::uuid[])
		), acts AS (
			DELETE FROM audit WHERE conversation_id = ANY ((SELECT list FROM ids)::uuid[]) AND action IN `+lifecycle.StepsSQL+`
		), gone AS (
			DELETE FROM conversation WHERE id = ANY ((SELECT list FROM ids)::uuid[])
		), members AS (
			DELETE FROM member AS m WHERE id = ANY (ARRAY(SELECT member_id FROM old)) AND now() - updated_at > interval '2 days' -- not by its index
			  AND NOT EXISTS (SELECT FROM conversation AS c WHERE c.member_id = m.id AND c.id NOT IN (SELECT id FROM old))
		)
		SELECT count(*) FROM old`, uuidv7.First(time.Now().Add(-term)), term, postgres.ForgetBatch).Scan(&n)
	return n, err
}

// forgetMembers deletes some of the members who have neither a conversation nor a draft, and
// who were not here for longer, with what they had chosen: whoever set preferences and never
// wrote, or was here when their last conversation went. Who writes has confirmed their row
// before, so none is taken from under a submission.
func (u *Upkeep) forgetMembers(ctx context.Context, term time.Duration) (int64, error) {
	return postgres.Exec(ctx, u.DB, "forgetting members", `DELETE FROM member WHERE updated_at < now() - $1::interval AND id = ANY (ARRAY(
		SELECT id FROM member AS m
		WHERE updated_at < now() - $1::interval
		  AND NOT EXISTS (SELECT FROM conversation AS c WHERE c.member_id = m.id) AND NOT EXISTS (SELECT FROM draft AS d WHERE d.member_id = m.id)
		ORDER BY updated_at LIMIT $2 FOR UPDATE SKIP LOCKED))`, term, postgres.ForgetBatch)
}

// forgetAudit deletes some of what was written down longer ago, but for steps. Numbers are
// in the order of time: only the first are looked at.
func (u *Upkeep) forgetAudit(ctx context.Context, term time.Duration) (int64, error) {
	return postgres.Exec(ctx, u.DB, "forgetting the audit", `DELETE FROM audit WHERE at < now() - $1::interval AND seq = ANY (ARRAY(
		SELECT seq FROM audit WHERE action NOT IN `+lifecycle.StepsSQL+` ORDER BY seq LIMIT $2))`, term, postgres.ForgetBatch)
}
