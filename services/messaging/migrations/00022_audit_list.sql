-- +goose NO TRANSACTION
-- +goose Up

-- An index whose creation was interrupted is invalid: it is made again.
-- +goose StatementBegin
DO $$
DECLARE
	unfinished text;
BEGIN
	FOR unfinished IN
		SELECT indexrelid::regclass::text FROM pg_index
		WHERE NOT indisvalid AND indexrelid = ANY (ARRAY(SELECT to_regclass(name) FROM unnest(ARRAY['audit_of_caisse', 'audit_of_agent']) AS name))
	LOOP
		EXECUTE 'DROP INDEX ' || unfinished;
	END LOOP;
END $$;
-- +goose StatementEnd
SET lock_timeout = 0;
-- The lists of supervisors, the last first: of a caisse, and of one of its agents. Readings
-- are counted by the first.
CREATE INDEX CONCURRENTLY IF NOT EXISTS audit_of_caisse ON audit (caisse, at, seq);
CREATE INDEX CONCURRENTLY IF NOT EXISTS audit_of_agent ON audit (caisse, agent_id, at, seq);

-- +goose Down
DROP INDEX audit_of_caisse, audit_of_agent;
