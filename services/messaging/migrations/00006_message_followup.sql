-- +goose NO TRANSACTION
-- +goose Up

-- An index whose creation was interrupted is invalid: it is made again.
-- +goose StatementBegin
DO $$
BEGIN
	IF EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass('message_followup') AND NOT indisvalid) THEN
		DROP INDEX message_followup;
	END IF;
END $$;
-- +goose StatementEnd
SET lock_timeout = 0;
-- Further messages of a member, each once. The first one's key is the conversation's.
-- contract: the version before writes no message of a member but the first, without a key.
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS message_followup ON message (conversation_id, idempotency_key) WHERE author = 1 AND idempotency_key IS NOT NULL;

-- +goose Down
DROP INDEX message_followup;
