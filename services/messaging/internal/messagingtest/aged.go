package messagingtest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
)

// aged makes conversations of the last three years in three caisses, the first of which
// has two in five: a fifth of all wait, a third were answered. Each has a message and an
// audit, and those answered another message.
var aged = []struct{ table, sql string }{
	{"member", `INSERT INTO member (id, contact, locale) SELECT 'member:' || n, '\x00', 'fr' FROM generate_series($1::bigint / 20, $2::bigint / 20) n ON CONFLICT DO NOTHING`},
	// Ids are UUIDv7, in the order of time.
	{"conversation", `INSERT INTO conversation (id, member_id, idempotency_key, reference, caisse, audience, taxonomy_version, theme, theme_label, topic, reason, queue, queue_label,
		answer_days, status, last_reply_id, newest_message_id, first_reply_at, created_at, updated_at)
	 SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15))::uuid,
		'member:' || n / 20, gen_random_uuid(), 'AGED-' || n, (ARRAY['msa-75', 'msa-35', 'msa-44', 'msa-75', 'msa-35'])[1 + n % 5], 1 + n / 350 % 3, 1,
		'theme-' || n / 5 % 10, 'Thème', 'topic-' || n / 5 % 30, 'reason-' || n / 5 % 60, 'queue-' || n / 50 % 7, 'File', 5,
		CASE WHEN waits AND n % 2 = 0 THEN 1 WHEN waits THEN 2 WHEN answered IS NOT NULL THEN 4 ELSE 7 END, CASE WHEN answered IS NOT NULL THEN newest END, newest, answered, at, coalesce(answered, at)
	 FROM generate_series($1::bigint + 1, $2::bigint) n,
	      LATERAL (SELECT now() - interval '3 years' * random() AS at, n % 11 < 2 AS waits) AS t,
	      LATERAL (SELECT CASE WHEN NOT waits AND n % 3 <> 0 THEN at + interval '20 days' * random() * random() END AS answered, gen_random_uuid() AS newest) AS r`},
	{"message", `INSERT INTO message (id, conversation_id, author, agent_id, idempotency_key, body, body_chars, created_at)
	 SELECT coalesce(r.id, CASE WHEN c.last_reply_id IS NULL THEN c.newest_message_id END, gen_random_uuid()), c.id, r.author, CASE r.author WHEN 2 THEN 'claire' END, CASE r.author WHEN 2 THEN gen_random_uuid() END, '\x00', 10, coalesce(r.at, c.created_at)
	 FROM conversation c, LATERAL (VALUES (NULL::uuid, 1, NULL::timestamptz), (c.last_reply_id, 2, c.first_reply_at)) AS r (id, author, at)
	 WHERE substring(c.reference FROM 'AGED-(.*)')::bigint BETWEEN $1::bigint + 1 AND $2::bigint AND (r.author = 1 OR r.id IS NOT NULL)`},
	{"audit", `INSERT INTO audit (agent_id, agent_name, caisse, service, action, conversation_id, at) SELECT 'claire', 'Claire', caisse, queue_label, 'read', id, updated_at FROM conversation
	 WHERE substring(reference FROM 'AGED-(.*)')::bigint BETWEEN $1::bigint + 1 AND $2::bigint ORDER BY updated_at`},
	{"note", `INSERT INTO note (id, conversation_id, agent_id, agent_name, idempotency_key, body, body_chars) SELECT gen_random_uuid(), id, 'claire', 'Claire', gen_random_uuid(), '\x00', 10
	 FROM conversation WHERE substring(reference FROM 'AGED-(.*)')::bigint BETWEEN $1::bigint + 1 AND $2::bigint AND substring(reference FROM 'AGED-(.*)')::bigint % 10 = 0`},
	{"event_log", `INSERT INTO event_log (id, type, caisse, conversation_id, payload, created_at)
	 SELECT gen_random_uuid(), 'message-submitted', 'msa-75', gen_random_uuid(), '\x00', now() - interval '30 days' * (n - $1::bigint) / ($2::bigint - $1::bigint)
	 FROM generate_series($1::bigint + 1, $2::bigint) n`},
	{"draft", `INSERT INTO draft (member_id, id, body, updated_at) SELECT 'member:' || n, gen_random_uuid(), '\x00', now() - interval '7 days' * random()
	 FROM generate_series($1::bigint / 20, $2::bigint / 20) n`},
	{"agent_draft", `INSERT INTO agent_draft (agent_id, conversation_id, body, note, updated_at) SELECT 'agent:' || n / 2 % ($2::bigint / 50), coalesce(c.id, gen_random_uuid()), '\x00', '\x00', now() - interval '7 days' * random()
	 FROM generate_series($1::bigint + 1, $2::bigint) n LEFT JOIN conversation c ON c.reference = 'AGED-' || n WHERE n % 2 = 0`},
}

// Aged returns what fills tables with rows that have been coming for years, from one number
// up to another; all tables if none is named. The event log has days beforehand, as a
// process that runs has.
func Aged(tables ...string) func(ctx context.Context, pool *pgxpool.Pool, from, to int) error {
	return func(ctx context.Context, pool *pgxpool.Pool, from, to int) error {
		today := time.Now().UTC().Truncate(24 * time.Hour)
		for ago := range 33 {
			day := today.AddDate(0, 0, 2-ago)
			if _, err := pool.Exec(ctx, fmt.Sprintf(`CREATE TABLE IF NOT EXISTS event_log_%s PARTITION OF event_log FOR VALUES FROM ('%s') TO ('%s')`,
				day.Format("20060102"), day.Format(time.RFC3339), day.AddDate(0, 0, 1).Format(time.RFC3339))); err != nil {
				return err
			}
		}
		for _, fill := range aged {
			if len(tables) > 0 && !slices.Contains(tables, fill.table) {
				continue
			}
			if _, err := pool.Exec(ctx, fill.sql, from, to); err != nil {
				return fmt.Errorf("filling %s: %w", fill.table, err)
			}
		}
		return nil
	}
}

// Picked is a conversation of those of Aged.
type Picked struct {
	ID          uuid.UUID  `db:"id"`
	MemberID    string     `db:"member_id"`
	LastReplyID *uuid.UUID `db:"last_reply_id"`
}

// Pick is the nth newest conversation of msa-75 in a status.
func Pick(ctx context.Context, db postgres.Querier, status, n int) (Picked, error) {
	return postgres.One[Picked](ctx, db, "picking a conversation",
		`SELECT id, member_id, last_reply_id FROM conversation WHERE caisse = 'msa-75' AND status = $1 ORDER BY created_at DESC OFFSET $2 LIMIT 1`, status, n)
}

// Count runs a backfill that counts in one statement, as messaging's upkeep does, anew.
func Count(ctx context.Context, pool *pgxpool.Pool, name, sql string) error {
	if _, err := pool.Exec(ctx, sql, nil, nil); err != nil {
		return fmt.Errorf("counting: %w", err)
	}
	_, err := pool.Exec(ctx, `INSERT INTO backfill (name, ended_at) VALUES ($1, now()) ON CONFLICT (name) DO UPDATE SET ended_at = now()`, name)
	return err
}
