-- +goose Up

-- The conversation that a draft is of a further message in, whose id it has then; NULL: of a new
-- one. It needs no index: those of a conversation are found by its member and id.
ALTER TABLE draft ADD COLUMN conversation_id uuid;

-- What agents have begun to write in conversations. Rows live seven days. No foreign key: making
-- one would keep submissions waiting, and an earlier binary deletes conversations without these.
CREATE TABLE agent_draft (
    agent_id        text        NOT NULL,
    conversation_id uuid        NOT NULL,
    body            bytea       NOT NULL,        -- of a reply, sealed by the conversation's key
    note            bytea       NOT NULL,        -- likewise
    updated_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (agent_id, conversation_id)
);
CREATE INDEX agent_draft_of_conversation ON agent_draft (conversation_id);
CREATE INDEX agent_draft_age ON agent_draft (updated_at);

-- +goose Down
DROP TABLE agent_draft;
ALTER TABLE draft DROP COLUMN conversation_id;
