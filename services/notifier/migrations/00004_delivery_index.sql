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
		WHERE NOT indisvalid AND indexrelid = ANY (ARRAY(SELECT to_regclass(name) FROM unnest(ARRAY['delivery_logged', 'delivery_dead_letter', 'delivery_dead_letter_reason', 'delivery_waiting', 'delivery_expiring', 'attempt_finished', 'set_aside_age']) AS name))
	LOOP
		EXECUTE 'DROP INDEX ' || unfinished;
	END LOOP;
END $$;
-- +goose StatementEnd
SET lock_timeout = 0;
-- Every event that makes deliveries makes one by e-mail.
CREATE INDEX CONCURRENTLY IF NOT EXISTS delivery_logged ON delivery (COALESCE(logged_at, occurred_at)) INCLUDE (event_id) WHERE channel = 'EMAIL';
-- The list of dead letters in its order, without those of which nothing went wrong.
CREATE INDEX CONCURRENTLY IF NOT EXISTS delivery_dead_letter ON delivery (updated_at, event_id, channel)
    WHERE state IN ('refused', 'expired', 'bounced', 'suppressed') AND dropped_at IS NULL
      AND (state <> 'suppressed' OR reason IN ('EMAIL_INVALID', 'PHONE_INVALID', 'CONVERSATION_UNKNOWN', 'RENDER_FAILED'));
CREATE INDEX CONCURRENTLY IF NOT EXISTS delivery_dead_letter_reason ON delivery (reason, updated_at, event_id, channel)
    WHERE state IN ('refused', 'expired', 'bounced', 'suppressed') AND dropped_at IS NULL
      AND (state <> 'suppressed' OR reason IN ('EMAIL_INVALID', 'PHONE_INVALID', 'CONVERSATION_UNKNOWN', 'RENDER_FAILED'));
-- What waits, and the longest of each state first.
CREATE INDEX CONCURRENTLY IF NOT EXISTS delivery_waiting ON delivery (channel, state, next_attempt_at, lease_until)
    WHERE state IN ('planned', 'retry', 'unknown', 'sending');
-- What waits and is past its time.
CREATE INDEX CONCURRENTLY IF NOT EXISTS delivery_expiring ON delivery (channel, expires_at) WHERE state IN ('planned', 'retry', 'unknown');
-- What was tried in the last hour.
CREATE INDEX CONCURRENTLY IF NOT EXISTS attempt_finished ON attempt (finished_at);
-- What is past its term.
CREATE INDEX CONCURRENTLY IF NOT EXISTS set_aside_age ON set_aside (set_aside_at);
-- contract: programs do not name indexes; delivery_dead_letter has what is asked for.
DROP INDEX CONCURRENTLY IF EXISTS delivery_dead;
