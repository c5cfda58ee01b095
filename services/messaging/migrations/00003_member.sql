-- +goose Up

-- What answer times are computed from. The process fills it in for older rows
-- (backfill.go), and 00007 makes its indexes. Earlier binaries do not set it.
ALTER TABLE conversation ADD COLUMN first_reply_at timestamptz;

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

-- What the member chose for themselves; NULL and false for those who chose nothing.
ALTER TABLE member
    ADD COLUMN chosen          bytea,   -- sealed {email, phone}
    ADD COLUMN chosen_locale   text,
    ADD COLUMN no_sms_on_acknowledgement boolean NOT NULL DEFAULT false,
    ADD COLUMN sms_on_reply    boolean  NOT NULL DEFAULT false;
-- contract: of a column that the version before does not write.
ALTER TABLE member ADD CONSTRAINT member_chosen_locale_check CHECK (chosen_locale IN ('fr', 'en')) NOT VALID;

-- Drafts of messages. Rows live seven days.
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
DROP FUNCTION working_days(timestamptz, timestamptz);
ALTER TABLE conversation DROP COLUMN erased_at, DROP COLUMN first_reply_at;
