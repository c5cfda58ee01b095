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
		WHERE NOT indisvalid AND indexrelid = ANY (ARRAY(SELECT to_regclass(name) FROM unnest(ARRAY['conversation_status', 'conversation_queue_status', 'conversation_topic']) AS name))
	LOOP
		EXECUTE 'DROP INDEX ' || unfinished;
	END LOOP;
END $$;
-- +goose StatementEnd
SET lock_timeout = 0;
-- The lists of agents, of each status in their order: of a caisse, of a queue, of a topic.
CREATE INDEX CONCURRENTLY IF NOT EXISTS conversation_status ON conversation (caisse, status, created_at, id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS conversation_queue_status ON conversation (caisse, queue, status, created_at, id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS conversation_topic ON conversation (caisse, queue, theme, topic, status, created_at, id);
-- contract: programs do not name indexes; until it is replaced, an earlier program finds
-- what waits by conversation_received or conversation_queue_status, which takes longer.
DROP INDEX CONCURRENTLY IF EXISTS conversation_waiting;
-- contract: as above.
DROP INDEX CONCURRENTLY IF EXISTS conversation_waiting_queue;
-- contract: as above.
DROP INDEX CONCURRENTLY IF EXISTS conversation_ended;
-- contract: as above.
DROP INDEX CONCURRENTLY IF EXISTS conversation_ended_queue;

-- +goose Down
CREATE INDEX conversation_waiting ON conversation (caisse, created_at, id) INCLUDE (status, theme, topic) WHERE status IN (1, 2, 3, 6);
CREATE INDEX conversation_waiting_queue ON conversation (caisse, queue, created_at, id) INCLUDE (status, theme, topic) WHERE status IN (1, 2, 3, 6);
CREATE INDEX conversation_ended ON conversation (caisse, status, created_at, id) INCLUDE (theme, topic) WHERE status IN (4, 5, 7);
CREATE INDEX conversation_ended_queue ON conversation (caisse, queue, status, created_at, id) INCLUDE (theme, topic) WHERE status IN (4, 5, 7);
DROP INDEX conversation_status, conversation_queue_status, conversation_topic;
