-- +goose Up

-- What answer times are computed from. Binaries of before do not set it: the few
-- first answers that they give during a rollout are missing from the figures.
ALTER TABLE conversation ADD COLUMN first_reply_at timestamptz;
UPDATE conversation c SET first_reply_at = (SELECT min(created_at) FROM message WHERE conversation_id = c.id AND author = 2)
WHERE last_reply_id IS NOT NULL;
CREATE INDEX conversation_answered ON conversation (caisse, audience, theme, first_reply_at) WHERE first_reply_at IS NOT NULL;

-- Working days (Monday to Friday, in Paris) after the day of one time up to the day
-- of another; NULL while one of them is. Public holidays count as working days. 3 January 2000 was a Monday.
-- +goose StatementBegin
CREATE FUNCTION working_days(begun timestamptz, ended timestamptz) RETURNS integer
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
	SELECT greatest(0, (b / 7 * 5 + least(b % 7, 5)) - (a / 7 * 5 + least(a % 7, 5)))
	FROM (SELECT (timezone('Europe/Paris', begun))::date - date '2000-01-03' + 1 AS a,
	             (timezone('Europe/Paris', ended))::date - date '2000-01-03' + 1 AS b) AS days
$$;
-- +goose StatementEnd

-- A member's texts were erased: the data key is gone, and with it what they said.
ALTER TABLE conversation ADD COLUMN erased_at timestamptz;

-- Further messages of a member, each once. The first one's key is the
-- conversation's.
-- contract: the version before writes no message of a member but the first, without a key.
CREATE UNIQUE INDEX message_followup ON message (conversation_id, idempotency_key) WHERE author = 1 AND idempotency_key IS NOT NULL;

-- What the member chose for themselves; NULL and false for who chose nothing.
ALTER TABLE member
    ADD COLUMN chosen          bytea,   -- sealed {email, phone}
    ADD COLUMN chosen_locale   text CHECK (chosen_locale IN ('fr', 'en')),
    ADD COLUMN no_sms_on_acknowledgement boolean NOT NULL DEFAULT false,
    ADD COLUMN sms_on_reply    boolean  NOT NULL DEFAULT false;

-- Messages that were begun. Rows live seven days.
CREATE TABLE draft (
    member_id        text        NOT NULL,
    id               uuid        NOT NULL,        -- given by the member's front end
    audience         smallint    NOT NULL DEFAULT 0 CHECK (audience BETWEEN 0 AND 3),
    theme            text        NOT NULL DEFAULT '',
    topic            text        NOT NULL DEFAULT '',
    reason           text        NOT NULL DEFAULT '',
    taxonomy_version integer     NOT NULL DEFAULT 0,
    body             bytea       NOT NULL,        -- sealed by the key set
    updated_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (member_id, id)
);
CREATE INDEX draft_age ON draft (updated_at);

-- +goose Down
DROP TABLE draft;
ALTER TABLE member DROP COLUMN chosen, DROP COLUMN chosen_locale, DROP COLUMN no_sms_on_acknowledgement, DROP COLUMN sms_on_reply;
DROP INDEX message_followup;
DROP FUNCTION working_days(timestamptz, timestamptz);
ALTER TABLE conversation DROP COLUMN erased_at, DROP COLUMN first_reply_at;
