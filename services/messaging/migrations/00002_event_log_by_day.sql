-- +goose Up

-- The first migration makes the event log by days since. What this one once did was to
-- copy a log without days into one with them, under a lock; no installation has such a log.
-- +goose StatementBegin
DO $$
BEGIN
	IF NOT EXISTS (SELECT FROM pg_partitioned_table WHERE partrelid = 'event_log'::regclass) THEN
		RAISE EXCEPTION 'the event log of this database has no days: it was made before the first release';
	END IF;
END $$;
-- +goose StatementEnd
