package upkeep

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/agent"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/conversation"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/draft"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/lifecycle"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/member"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/outbox"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/reading"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/watch"
)

const (
	// LeastConversation is the shortest term of conversations: figures reach back so far.
	LeastConversation = 366 * 24 * time.Hour
	// LeastAudit is the shortest term of the audit, below which it would be gone before
	// anybody looks into an incident, and before its readings are counted ([reading.Life]).
	LeastAudit = 30 * 24 * time.Hour
)

// terms are the retention of this service's tables. The event log drops whole days
// ([outbox.Store.KeepDays]); here, only its default partition is emptied. Versions of the
// taxonomy are kept for ever: there is one row for each publication.
func (u *Upkeep) terms() (terms []postgres.Term) {
	for years := range int16(conversation.MostYears + 1) {
		what := "conversations"
		if years > 0 {
			what = fmt.Sprintf("conversations (%d y)", years)
		}
		terms = append(terms, postgres.Term{What: what, Keep: u.Conversations.Of(years), Step: func(ctx context.Context, term time.Duration) (int64, error) {
			return u.forgetConversations(ctx, years, term)
		}})
	}
	return append(terms, []postgres.Term{
		{What: "members without a conversation", Keep: time.Duration(u.Conversations), Step: u.forgetMembers},
		{What: "audit", Keep: u.Audit, Step: u.forgetAudit},
		{What: "counts of readings", Keep: reading.Life, Step: func(ctx context.Context, term time.Duration) (int64, error) { return reading.Forget(ctx, u.DB, term) }},
		{What: "agents who were not here", Keep: agent.ColleagueLife, Step: func(ctx context.Context, term time.Duration) (int64, error) {
			return agent.ForgetColleagues(ctx, u.DB, term)
		}},
		{What: "drafts", Keep: draft.Life, Step: func(ctx context.Context, term time.Duration) (int64, error) { return draft.Forget(ctx, u.DB, term) }},
		{What: "agents' drafts", Keep: draft.Life, Step: func(ctx context.Context, term time.Duration) (int64, error) {
			return draft.ForgetOfAgents(ctx, u.DB, term)
		}},
		{What: "keys of what was erased", Keep: member.ErasedKeyLife, Step: func(ctx context.Context, term time.Duration) (int64, error) {
			return member.ForgetErasedKeys(ctx, u.DB, term)
		}},
		{What: "notes of keys that may be unused", Keep: unusedAge, Step: u.retireKeys},
		{What: "erased members' key ids", Keep: u.Erasures, Step: u.Vault.Forget},
		{What: "kinds that no conversation has", Keep: unusedKindAge, Step: u.forgetKinds},
		{What: "watch tickets", Keep: watch.TicketLife, Step: watch.NewTickets(u.DB).Forget},
		{What: "refused events", Keep: u.EventLog, Step: outbox.New(u.DB).ForgetRefused},
		{What: "events of no day", Keep: u.EventLog, Step: outbox.New(u.DB).ForgetDayless},
	}...)
}

// forgetConversations deletes some of the conversations whose term is a number of years, 0
// for the setting's, and has passed ([conversation.DueSQL]), those that ended first before
// others, with their messages, notes, steps and what was begun in them, and members who have no
// other conversation and no other draft.
// What waits for the fund or is on hold stays, whatever its age. It returns how many
// conversations it deleted, and counts them. One process works at a time: of two, each would
// leave a member to the other.
func (u *Upkeep) forgetConversations(ctx context.Context, years int16, term time.Duration) (n int64, err error) {
	err = pgx.BeginFunc(ctx, u.DB, func(tx pgx.Tx) error {
		var alone bool
		if err := tx.QueryRow(ctx, `SELECT pg_try_advisory_xact_lock('conversation'::regclass::oid::bigint)`).Scan(&alone); err != nil || !alone {
			return err
		}
		n, err = forgetConversations(ctx, tx, years, term)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("forgetting conversations: %w", err)
	}
	if u.Purged != nil && n > 0 {
		u.Purged.Add(ctx, n)
	}
	return n, nil
}

func forgetConversations(ctx context.Context, tx pgx.Tx, years int16, term time.Duration) (n int64, err error) {
	// A member who writes at this moment has confirmed their row within a day (member.SaveAccount);
	// the second day is for a submission under way. A member seen within two days stays.
	err = tx.QueryRow(ctx, `
		WITH old AS MATERIALIZED (
			SELECT id, member_id FROM conversation AS c WHERE `+conversation.DueSQL("$1::integer", "$2::interval")+`
			ORDER BY updated_at LIMIT $3 FOR UPDATE SKIP LOCKED
		), ids AS (
			SELECT ARRAY(SELECT id FROM old) AS list
		), messages AS (
			DELETE FROM message WHERE conversation_id = ANY ((SELECT list FROM ids)::uuid[])
		), notes AS (
			DELETE FROM note WHERE conversation_id = ANY ((SELECT list FROM ids)::uuid[])
		), acts AS (
			DELETE FROM audit WHERE conversation_id = ANY ((SELECT list FROM ids)::uuid[]) AND action IN `+lifecycle.StepsSQL+`
		), begun AS (
			DELETE FROM agent_draft WHERE conversation_id = ANY ((SELECT list FROM ids)::uuid[])
		), further AS ( -- each by the key of its table
			DELETE FROM draft AS d USING old WHERE d.member_id = old.member_id AND d.id = old.id AND d.conversation_id = old.id
			RETURNING d.key_id, d.member_id
		), gone AS (
			DELETE FROM conversation WHERE id = ANY ((SELECT list FROM ids)::uuid[])
		), members AS (
			DELETE FROM member AS m WHERE id = ANY (ARRAY(SELECT member_id FROM old)) AND now() - updated_at > interval '2 days' -- not by its index
			  AND NOT EXISTS (SELECT FROM conversation AS c WHERE c.member_id = m.id AND c.id NOT IN (SELECT id FROM old))
			  AND NOT EXISTS (SELECT FROM draft AS d WHERE d.member_id = m.id AND (d.conversation_id IS NULL OR d.conversation_id NOT IN (SELECT id FROM old)))
			RETURNING id, key_id
		), unused AS (
			INSERT INTO unused_key (id, member_id)
			SELECT key_id, id FROM (SELECT key_id, id FROM members UNION SELECT key_id, member_id FROM further) AS of (key_id, id) WHERE key_id <> '00000000-0000-0000-0000-000000000000' ON CONFLICT DO NOTHING
		)
		SELECT count(*) FROM old`, years, term, postgres.ForgetBatch).Scan(&n)
	if err != nil || n == 0 {
		return n, err
	}
	_, err = postgres.Exec(ctx, tx, "counting what was deleted", `
		WITH forgotten AS (DELETE FROM purge_slot WHERE slot < now() - interval '2 days')
		INSERT INTO purge_slot (slot, n) VALUES (date_bin('1 hour', now(), timestamptz 'epoch'), $1)
		ON CONFLICT (slot) DO UPDATE SET n = purge_slot.n + excluded.n`, n)
	return n, err
}

// forgetMembers deletes some of the members who have neither a conversation nor a draft and
// whose row was not confirmed within the term, with their preferences: those who set
// preferences and never wrote, or who were kept when their last conversation was deleted. A
// submission confirms the member's row first, so none is deleted under it.
func (u *Upkeep) forgetMembers(ctx context.Context, term time.Duration) (int64, error) {
	return postgres.One[int64](ctx, u.DB, "forgetting members", `
		WITH gone AS (
			DELETE FROM member WHERE updated_at < now() - $1::interval AND id = ANY (ARRAY(
				SELECT id FROM member AS m
				WHERE updated_at < now() - $1::interval
				  AND NOT EXISTS (SELECT FROM conversation AS c WHERE c.member_id = m.id) AND NOT EXISTS (SELECT FROM draft AS d WHERE d.member_id = m.id)
				ORDER BY updated_at LIMIT $2 FOR UPDATE SKIP LOCKED))
			RETURNING id, key_id
		), unused AS (
			INSERT INTO unused_key (id, member_id) SELECT key_id, id FROM gone WHERE key_id <> '00000000-0000-0000-0000-000000000000' ON CONFLICT DO NOTHING
		)
		SELECT count(*) FROM gone`, term, postgres.ForgetBatch)
}

// forgetAudit deletes some of the audit entries older than the term, except the steps that
// members see. Sequence numbers are in the order of time: only the first are read.
func (u *Upkeep) forgetAudit(ctx context.Context, term time.Duration) (int64, error) {
	return postgres.Exec(ctx, u.DB, "forgetting the audit", `DELETE FROM audit WHERE at < now() - $1::interval AND seq = ANY (ARRAY(
		SELECT seq FROM audit WHERE action NOT IN `+lifecycle.StepsSQL+` ORDER BY seq LIMIT $2))`, term, postgres.ForgetBatch)
}
