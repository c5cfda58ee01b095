-- +goose NO TRANSACTION
-- +goose Up

-- An index whose creation was interrupted is invalid: it is made again.
-- +goose StatementBegin
DO $$
BEGIN
	IF EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass('conversation_term') AND NOT indisvalid) THEN
		DROP INDEX conversation_term;
	END IF;
END $$;
-- +goose StatementEnd
SET lock_timeout = 0;
-- What has ended and is on no hold, by its term, in the order in which that passes.
CREATE INDEX CONCURRENTLY IF NOT EXISTS conversation_term ON conversation ((coalesce(retention_years, 0)), updated_at)
    WHERE status IN (4, 5, 7) AND held_at IS NULL;

-- +goose Down
DROP INDEX conversation_term;
