-- +goose NO TRANSACTION
-- +goose Up

-- An index whose creation was interrupted is invalid: it is made again.
-- +goose StatementBegin
DO $$
BEGIN
	IF EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass('member_number') AND NOT indisvalid) THEN
		DROP INDEX member_number;
	END IF;
END $$;
-- +goose StatementEnd
SET lock_timeout = 0;
-- Members by their number. Two may have the same: accounts of one person.
CREATE INDEX CONCURRENTLY IF NOT EXISTS member_number ON member (number_hash) WHERE number_hash IS NOT NULL;

-- +goose Down
DROP INDEX member_number;
