-- +goose Up

-- Who wrote a reply, as the fund knows them: the name of the agent, or of the machine's client,
-- and the service that was in charge. NULL for a member, and for replies of earlier binaries,
-- which do not set it.
ALTER TABLE message ADD COLUMN agent_name text, ADD COLUMN machine boolean, ADD COLUMN service text;

-- The last message, for lists: what answers it decides by the messages themselves. NULL in rows
-- of earlier binaries, which do not keep it up to date either: who answers what it names is then
-- told what is new.
ALTER TABLE conversation ADD COLUMN newest_message_id uuid;

-- A keyed hash of the member's number (internal/member); NULL where their account says none, and
-- in rows of earlier binaries until the member writes again.
ALTER TABLE member ADD COLUMN number_hash bytea;

-- Whose fund an act belongs to, by whom and by which client it was done, which service was in
-- charge of the conversation, and what it was done with: a queue, a colleague. Empty in entries
-- of earlier binaries. Constant defaults: the table is not written anew.
ALTER TABLE audit
    ADD COLUMN caisse     text NOT NULL DEFAULT '',
    ADD COLUMN agent_name text NOT NULL DEFAULT '',
    ADD COLUMN client     text NOT NULL DEFAULT '',
    ADD COLUMN service    text NOT NULL DEFAULT '',
    ADD COLUMN target     text NOT NULL DEFAULT '';

-- The agents and machines that have worked with conversations lately, as their tokens describe
-- them: to whom a conversation may be assigned.
CREATE TABLE agent (
    id      text        PRIMARY KEY,             -- issuer name : sub
    caisse  text        NOT NULL,
    name    text        NOT NULL,
    machine boolean     NOT NULL,
    queues  text[]      NOT NULL,                -- '*': all
    seen_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX agent_of_caisse ON agent (caisse);
CREATE INDEX agent_seen ON agent (seen_at);

-- +goose Down
DROP TABLE agent;
ALTER TABLE audit DROP COLUMN caisse, DROP COLUMN agent_name, DROP COLUMN client, DROP COLUMN service, DROP COLUMN target;
ALTER TABLE member DROP COLUMN number_hash;
ALTER TABLE conversation DROP COLUMN newest_message_id;
ALTER TABLE message DROP COLUMN agent_name, DROP COLUMN machine, DROP COLUMN service;
