-- +goose NO TRANSACTION
-- +goose Up

-- What was begun and not finished is of no use.
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
