-- +goose NO TRANSACTION
-- +goose Up

-- An index whose creation was interrupted is invalid: it is made again.
-- +goose StatementBegin
DO $$
BEGIN
	IF EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass('message_member_key') AND NOT indisvalid) THEN
		DROP INDEX message_member_key;
	END IF;
END $$;
-- +goose StatementEnd
SET lock_timeout = 0;
-- A member's further messages by their keys, in whichever conversation. Not unique: another
-- member may have chosen the same, and the version before takes a key once in each conversation.
CREATE INDEX CONCURRENTLY IF NOT EXISTS message_member_key ON message (idempotency_key) WHERE author = 1 AND idempotency_key IS NOT NULL;

-- +goose Down
DROP INDEX message_member_key;
