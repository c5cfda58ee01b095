-- +goose NO TRANSACTION
-- +goose Up

-- An index whose creation was interrupted is invalid: it is made again.
-- +goose StatementBegin
DO $$
BEGIN
	IF EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass('member_seen') AND NOT indisvalid) THEN
		DROP INDEX member_seen;
	END IF;
END $$;
-- +goose StatementEnd
SET lock_timeout = 0;
-- Members who have been away longest.
CREATE INDEX CONCURRENTLY IF NOT EXISTS member_seen ON member (updated_at);

-- +goose Down
DROP INDEX member_seen;
