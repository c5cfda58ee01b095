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
		WHERE NOT indisvalid AND indexrelid = ANY (ARRAY(SELECT to_regclass(name) FROM unnest(ARRAY['delivery_dead_letter_provider', 'set_aside_open_reason']) AS name))
	LOOP
		EXECUTE 'DROP INDEX ' || unfinished;
	END LOOP;
END $$;
-- +goose StatementEnd
SET lock_timeout = 0;
-- The dead letters of a provider, newest first.
CREATE INDEX CONCURRENTLY IF NOT EXISTS delivery_dead_letter_provider ON delivery (provider, updated_at, event_id, channel)
    WHERE state IN ('refused', 'expired', 'bounced', 'suppressed') AND dropped_at IS NULL
      AND (state <> 'suppressed' OR reason IN ('EMAIL_INVALID', 'PHONE_INVALID', 'CONVERSATION_UNKNOWN', 'RENDER_FAILED'));
-- Events set aside for a reason, likewise.
CREATE INDEX CONCURRENTLY IF NOT EXISTS set_aside_open_reason ON set_aside (reason, set_aside_at, id) WHERE ended_at IS NULL;

-- +goose Down
DROP INDEX set_aside_open_reason;
DROP INDEX delivery_dead_letter_provider;
