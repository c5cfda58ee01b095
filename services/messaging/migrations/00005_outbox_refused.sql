-- +goose Up

-- Events that the broker refuses while it takes others. They are kept apart so as not to
-- hold up the others, and retried less and less often. Few, and read whole. A new table
-- locks nothing.
CREATE TABLE outbox_refused (
    id              uuid        PRIMARY KEY,
    type            text        NOT NULL,
    caisse          text        NOT NULL,
    conversation_id uuid        NOT NULL,
    payload         bytea       NOT NULL,
    trace           text        NOT NULL,
    created_at      timestamptz NOT NULL,
    reason          text        NOT NULL,            -- see bus.Refusal
    tries           smallint    NOT NULL DEFAULT 1,  -- while others passed
    tried_at        timestamptz NOT NULL DEFAULT now(),
    next_try        timestamptz NOT NULL DEFAULT now() + interval '1 second',
    set_aside_at    timestamptz                      -- NULL: still tried often
);

CREATE INDEX outbox_refused_due ON outbox_refused (next_try);
-- One of those set aside is tried for all of its subject.
CREATE INDEX outbox_set_aside ON outbox_refused (type, caisse, reason, id) WHERE set_aside_at IS NOT NULL;
-- Lists are in the order in which it happened.
CREATE INDEX outbox_refused_created ON outbox_refused (created_at, id);

-- +goose Down
-- Refused events go back to the outbox, where they would be without this table.
INSERT INTO outbox (id, type, caisse, conversation_id, payload, trace, created_at)
SELECT id, type, caisse, conversation_id, payload, trace, created_at FROM outbox_refused;
DROP TABLE outbox_refused;
