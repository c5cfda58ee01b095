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
		WHERE NOT indisvalid AND indexrelid = ANY (ARRAY(SELECT to_regclass(name) FROM unnest(ARRAY['conversation_answer_times', 'conversation_waiting', 'conversation_waiting_queue', 'conversation_ended', 'conversation_ended_queue', 'conversation_unanswered', 'conversation_received', 'conversation_first_answer']) AS name))
	LOOP
		EXECUTE 'DROP INDEX ' || unfinished;
	END LOOP;
END $$;
-- +goose StatementEnd
SET lock_timeout = 0;
-- Statistics read a caisse's ranges of time, out of the index alone.
CREATE INDEX CONCURRENTLY IF NOT EXISTS conversation_received ON conversation
    (caisse, created_at, queue, theme, first_reply_at, answer_days, working_days(created_at, first_reply_at));
CREATE INDEX CONCURRENTLY IF NOT EXISTS conversation_first_answer ON conversation (caisse, first_reply_at, queue) WHERE first_reply_at IS NOT NULL;
-- What is usual is computed from the newest answers of a theme, out of the index alone.
CREATE INDEX CONCURRENTLY IF NOT EXISTS conversation_answer_times ON conversation
    (caisse, audience, theme, first_reply_at, working_days(created_at, first_reply_at)) INCLUDE (created_at, topic, reason) WHERE first_reply_at IS NOT NULL;
-- What waits for the fund, in the order in which agents take it: in all queues of a caisse,
-- and in one. What a list is narrowed by is in the index too.
CREATE INDEX CONCURRENTLY IF NOT EXISTS conversation_waiting ON conversation (caisse, created_at, id)
    INCLUDE (status, theme, topic) WHERE status IN (1, 2, 3, 6);
CREATE INDEX CONCURRENTLY IF NOT EXISTS conversation_waiting_queue ON conversation (caisse, queue, created_at, id)
    INCLUDE (status, theme, topic) WHERE status IN (1, 2, 3, 6);
-- The oldest that nobody has answered at all.
CREATE INDEX CONCURRENTLY IF NOT EXISTS conversation_unanswered ON conversation (created_at) WHERE status IN (1, 2, 3, 6) AND first_reply_at IS NULL;
-- What has ended, or waits for the member, likewise.
CREATE INDEX CONCURRENTLY IF NOT EXISTS conversation_ended ON conversation (caisse, status, created_at, id)
    INCLUDE (theme, topic) WHERE status IN (4, 5, 7);
CREATE INDEX CONCURRENTLY IF NOT EXISTS conversation_ended_queue ON conversation (caisse, queue, status, created_at, id)
    INCLUDE (theme, topic) WHERE status IN (4, 5, 7);
-- contract: programs do not name indexes; the ones above have more.
DROP INDEX CONCURRENTLY IF EXISTS conversation_answered;
-- contract: as above.
DROP INDEX CONCURRENTLY IF EXISTS conversation_queue;
-- contract: as above; what they served for is read from conversation_received and conversation_first_answer.
DROP INDEX CONCURRENTLY IF EXISTS conversation_created;
-- contract: as above.
DROP INDEX CONCURRENTLY IF EXISTS conversation_first_reply;

-- +goose Down
CREATE INDEX conversation_queue ON conversation (caisse, queue, created_at, id) WHERE status IN (1, 2, 3, 6);
CREATE INDEX conversation_answered ON conversation (caisse, audience, theme, first_reply_at) WHERE first_reply_at IS NOT NULL;
DROP INDEX conversation_answer_times, conversation_waiting, conversation_waiting_queue, conversation_ended, conversation_ended_queue, conversation_unanswered, conversation_received, conversation_first_answer;
