-- +goose NO TRANSACTION
-- +goose Up

-- What was begun and not finished is of no use.
-- +goose StatementBegin
DO $$
BEGIN
	IF EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass('member_seen') AND NOT indisvalid) THEN
		DROP INDEX member_seen;
	END IF;
END $$;
-- +goose StatementEnd
SET lock_timeout = 0;
-- Members who were not here for longest.
CREATE INDEX CONCURRENTLY IF NOT EXISTS member_seen ON member (updated_at);

-- +goose Down
DROP INDEX member_seen;
