-- +goose NO TRANSACTION
-- +goose Up

-- An index whose creation was interrupted is invalid: it is made again.
-- +goose StatementBegin
DO $$
BEGIN
	IF EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass('audit_log') AND NOT indisvalid) THEN
		DROP INDEX audit_log;
	END IF;
END $$;
-- +goose StatementEnd
SET lock_timeout = 0;
-- What goes after its own term. The other acts are steps that members see, and go with
-- their conversation.
CREATE INDEX CONCURRENTLY IF NOT EXISTS audit_log ON audit (seq)
    WHERE action NOT IN ('claim', 'transfer', 'recategorise', 'close', 'reopen');

-- +goose Down
DROP INDEX audit_log;
