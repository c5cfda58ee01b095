-- +goose Up

-- When the fund first answered; NULL until then. 00003 adds it since; a database from before
-- that has it from here.
ALTER TABLE conversation ADD COLUMN IF NOT EXISTS first_reply_at timestamptz;

-- The selection and the queue as the member sent them, kept from the moment an
-- agent corrects them: a repeated submission is compared with these.
-- NULL: nothing was corrected.
ALTER TABLE conversation ADD COLUMN first_selection jsonb;

-- What agents write for colleagues. Members never see it.
CREATE TABLE note (
    id              uuid        PRIMARY KEY,     -- UUIDv7, given by the process
    conversation_id uuid        NOT NULL REFERENCES conversation (id),
    agent_id        text        NOT NULL,
    agent_name      text        NOT NULL,        -- as colleagues see it
    idempotency_key uuid        NOT NULL,
    body            bytea       NOT NULL,        -- sealed by the conversation's data key
    body_chars      smallint    NOT NULL CHECK (body_chars BETWEEN 1 AND 2000),
    created_at      timestamptz NOT NULL DEFAULT now(),
    UNIQUE (agent_id, idempotency_key)
);

CREATE INDEX note_of_conversation ON note (conversation_id, created_at, id);

-- Templates of replies. Nothing personal belongs here, so they are not encrypted.
CREATE TABLE template (
    caisse     text        NOT NULL,
    id         uuid        NOT NULL,             -- given by the caller
    title      text        NOT NULL CHECK (char_length(title) BETWEEN 1 AND 80),
    text       text        NOT NULL CHECK (char_length(text) BETWEEN 1 AND 5000),
    queue      text        NOT NULL DEFAULT '',  -- '': all
    updated_by text        NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (caisse, id)
);

-- +goose Down
DROP TABLE template, note;
ALTER TABLE conversation DROP COLUMN first_selection;
