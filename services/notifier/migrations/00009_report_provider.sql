-- +goose NO TRANSACTION
-- +goose Up

-- An index whose creation was interrupted is invalid: it is made again.
-- +goose StatementBegin
DO $$
BEGIN
	IF EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass('report_provider') AND NOT indisvalid) THEN
		DROP INDEX report_provider;
	END IF;
END $$;
-- +goose StatementEnd
SET lock_timeout = 0;
-- A provider's newest report.
CREATE INDEX CONCURRENTLY IF NOT EXISTS report_provider ON report (provider, received_at);

-- +goose Down
DROP INDEX report_provider;
