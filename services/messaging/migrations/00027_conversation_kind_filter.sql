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
		WHERE NOT indisvalid AND indexrelid = ANY (ARRAY(SELECT to_regclass(name) FROM unnest(ARRAY['conversation_kind_theme', 'conversation_kind_topic', 'conversation_kind_reason']) AS name))
	LOOP
		EXECUTE 'DROP INDEX ' || unfinished;
	END LOOP;
END $$;
-- +goose StatementEnd
SET lock_timeout = 0;
-- The kinds of a theme, a topic, a reason: a caisse has thousands in all.
CREATE INDEX CONCURRENTLY IF NOT EXISTS conversation_kind_theme ON conversation_kind (caisse, theme, queue, audience);
CREATE INDEX CONCURRENTLY IF NOT EXISTS conversation_kind_topic ON conversation_kind (caisse, topic);
CREATE INDEX CONCURRENTLY IF NOT EXISTS conversation_kind_reason ON conversation_kind (caisse, reason);

-- +goose Down
DROP INDEX conversation_kind_theme, conversation_kind_topic, conversation_kind_reason;
