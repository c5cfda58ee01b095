-- +goose NO TRANSACTION
-- +goose Up

-- An index whose creation was interrupted is invalid: it is made again.
-- +goose StatementBegin
DO $$
BEGIN
	IF EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass('conversation_kind_queue') AND NOT indisvalid) THEN
		DROP INDEX conversation_kind_queue;
	END IF;
END $$;
-- +goose StatementEnd
SET lock_timeout = 0;
-- The queues and profiles that there are, from each to the next: kinds are hundreds of times as many.
CREATE INDEX CONCURRENTLY IF NOT EXISTS conversation_kind_queue ON conversation_kind (caisse, queue, audience);

-- +goose Down
DROP INDEX conversation_kind_queue;
