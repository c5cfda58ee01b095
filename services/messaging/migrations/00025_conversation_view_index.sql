-- +goose NO TRANSACTION
-- +goose Up

-- An index whose creation was interrupted is invalid: it is made again.
-- +goose StatementBegin
DO $$
DECLARE
	unfinished text;
BEGIN
	FOR unfinished IN
		SELECT indexrelid::regclass::text FROM pg_index
		WHERE NOT indisvalid AND indexrelid = ANY (ARRAY(SELECT to_regclass(name) FROM unnest(ARRAY['conversation_waits', 'conversation_theme_waits', 'conversation_kind_waits', 'conversation_changed', 'conversation_theme_changed', 'conversation_kind_changed', 'conversation_claimed']) AS name))
	LOOP
		EXECUTE 'DROP INDEX ' || unfinished;
	END LOOP;
END $$;
-- +goose StatementEnd
SET lock_timeout = 0;
-- The lists of agents: of each status, by when a conversation began to wait, of a queue and
-- profile, of a theme in it, and of a kind.
CREATE INDEX CONCURRENTLY IF NOT EXISTS conversation_waits ON conversation (caisse, queue, audience, status, (coalesce(waits_since, created_at)), id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS conversation_theme_waits ON conversation (caisse, queue, theme, audience, status, (coalesce(waits_since, created_at)), id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS conversation_kind_waits ON conversation
    ((kind_number(caisse, queue, theme, topic, reason, audience)), status, (coalesce(waits_since, created_at)), id);
-- The same by the last change. What was sent and has not changed since is found by when it
-- began to wait, which is the same time: a submission writes nothing here.
CREATE INDEX CONCURRENTLY IF NOT EXISTS conversation_changed ON conversation (caisse, queue, audience, status, updated_at, id)
    WHERE status <> 1 OR updated_at <> coalesce(waits_since, created_at);
CREATE INDEX CONCURRENTLY IF NOT EXISTS conversation_theme_changed ON conversation (caisse, queue, theme, audience, status, updated_at, id)
    WHERE status <> 1 OR updated_at <> coalesce(waits_since, created_at);
CREATE INDEX CONCURRENTLY IF NOT EXISTS conversation_kind_changed ON conversation
    ((kind_number(caisse, queue, theme, topic, reason, audience)), status, updated_at, id)
    WHERE status <> 1 OR updated_at <> coalesce(waits_since, created_at);
-- What an agent holds.
CREATE INDEX CONCURRENTLY IF NOT EXISTS conversation_claimed ON conversation (claimed_by, claim_expires) WHERE claimed_by IS NOT NULL;
-- contract: programs do not name indexes; until it is replaced, an earlier program finds
-- what waits by conversation_waits, which takes longer.
DROP INDEX CONCURRENTLY IF EXISTS conversation_status;
-- contract: as above.
DROP INDEX CONCURRENTLY IF EXISTS conversation_queue_status;
-- contract: as above.
DROP INDEX CONCURRENTLY IF EXISTS conversation_topic;

-- +goose Down
CREATE INDEX conversation_status ON conversation (caisse, status, created_at, id);
CREATE INDEX conversation_queue_status ON conversation (caisse, queue, status, created_at, id);
CREATE INDEX conversation_topic ON conversation (caisse, queue, theme, topic, status, created_at, id);
DROP INDEX conversation_waits, conversation_theme_waits, conversation_kind_waits, conversation_changed, conversation_theme_changed, conversation_kind_changed, conversation_claimed;
