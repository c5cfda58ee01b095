package messaging

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
)

const (
	// leastConversation is the shortest term of conversations: figures reach back so far.
	leastConversation = 366 * 24 * time.Hour
	// leastAudit is the shortest term of the audit: who looks into it does so for what
	// happened lately.
	leastAudit = 30 * 24 * time.Hour
)

// terms are those of this service's tables. Days of the event log are dropped whole
// (keepDays), drafts live for a week (dropDrafts), and what is kept of the taxonomy is as
// much as there are publications.
func (s *store) terms(cfg Config) []postgres.Term {
	return []postgres.Term{
		{What: "conversations", Keep: cfg.ConversationRetention, Step: s.forgetConversations},
		{What: "audit", Keep: cfg.AuditRetention, Step: s.forgetAudit},
	}
}

// forgetConversations deletes some of the conversations that have ended and in which nothing
// has happened for longer, oldest first, with their messages and notes, and members who
// have no others. Ids are in the order of time, so that only the first are looked at; what
// is that old and still waits is not deleted. It returns how many conversations it deleted.
func (s *store) forgetConversations(ctx context.Context, term time.Duration) (n int64, err error) {
	// A member who writes at this moment has confirmed their row before (members.save): it
	// is either seen to be of today, or written anew.
	err = s.pool.QueryRow(ctx, `
		WITH old AS MATERIALIZED (
			SELECT id, member_id FROM conversation
			WHERE id < $1 AND status IN (4, 5, 7) AND updated_at < now() - $2::interval
			ORDER BY id LIMIT $3 FOR UPDATE SKIP LOCKED
		), ids AS (
			SELECT ARRAY(SELECT id FROM old) AS list
		), messages AS (
			DELETE FROM message WHERE conversation_id = ANY ((SELECT list FROM ids)::uuid[])
		), notes AS (
			DELETE FROM note WHERE conversation_id = ANY ((SELECT list FROM ids)::uuid[])
		), gone AS (
			DELETE FROM conversation WHERE id = ANY ((SELECT list FROM ids)::uuid[])
		), members AS (
			DELETE FROM member AS m WHERE id = ANY (ARRAY(SELECT member_id FROM old)) AND updated_at < now() - interval '1 day'
			  AND NOT EXISTS (SELECT FROM conversation AS c WHERE c.member_id = m.id AND c.id <> ALL ((SELECT list FROM ids)::uuid[]))
		)
		SELECT count(*) FROM old`, idAt(time.Now().Add(-term)), term, postgres.ForgetBatch).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("forgetting conversations: %w", err)
	}
	return n, nil
}

// forgetAudit deletes some of what was written down longer ago. Numbers are in the order of
// time: only the first are looked at.
func (s *store) forgetAudit(ctx context.Context, term time.Duration) (int64, error) {
	tag, err := s.pool.Exec(ctx, `DELETE FROM audit WHERE at < now() - $1::interval AND seq = ANY (ARRAY(
		SELECT seq FROM audit ORDER BY seq LIMIT $2))`, term, postgres.ForgetBatch)
	if err != nil {
		return 0, fmt.Errorf("forgetting the audit: %w", err)
	}
	return tag.RowsAffected(), nil
}

// idAt is the smallest id (UUIDv7) of a time: 48 bits of milliseconds come first.
func idAt(at time.Time) (id uuid.UUID) {
	milliseconds := max(at.UnixMilli(), 0)
	for i := range 6 {
		id[i] = byte(milliseconds >> (8 * (5 - i))) //nolint:gosec // one byte of it
	}
	return id
}
