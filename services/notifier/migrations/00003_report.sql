-- +goose Up

-- What providers report after they accepted: three more final states, which only a report
-- leads to. Every existing row satisfies the narrower constraint.
ALTER TABLE delivery DROP CONSTRAINT delivery_state_check;
-- contract: a wider rule, so what the version before writes is allowed.
ALTER TABLE delivery ADD CONSTRAINT delivery_state_check CHECK (state IN
    ('planned', 'sending', 'retry', 'unknown', 'accepted', 'refused', 'expired', 'suppressed',
     'delivered', 'bounced', 'complained')) NOT VALID;

-- The time of the event in the sender's log, to the microsecond: by it the ledger
-- is compared with that log. occurred_at, which is never in the future, is used in
-- its place for rows of versions that did not set it.
ALTER TABLE delivery ADD COLUMN logged_at timestamptz;

-- When an operator took a dead letter off the list, and why.
ALTER TABLE delivery ADD COLUMN dropped_at timestamptz, ADD COLUMN drop_note text NOT NULL DEFAULT '';

-- Each report once, by the provider's own name for it. No address is stored.
CREATE TABLE report (
    provider    text        NOT NULL,
    report_id   text        NOT NULL,
    event_id    uuid        NOT NULL,
    channel     text        NOT NULL,
    state       text        NOT NULL CHECK (state IN ('accepted', 'delivered', 'bounced', 'complained')),
    reason      text        NOT NULL DEFAULT '',
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (provider, report_id)
);

CREATE INDEX report_delivery ON report (event_id, channel);
CREATE INDEX report_received ON report (received_at);

-- Events that could not be read, with what came, so that they can be read again
-- by a version that can. Payloads hold no personal data.
CREATE TABLE set_aside (
    id           uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    message_id   text        NOT NULL,              -- as the broker had it
    type         text        NOT NULL,
    payload      bytea       NOT NULL,
    trace_context text       NOT NULL DEFAULT '',
    occurred_at  timestamptz,
    reason       text        NOT NULL,
    set_aside_at timestamptz NOT NULL DEFAULT now(),
    -- When it was read after all, or dropped.
    ended_at     timestamptz,
    note         text        NOT NULL DEFAULT ''
);

CREATE UNIQUE INDEX set_aside_once ON set_aside (message_id, sha256(payload));
CREATE INDEX set_aside_open ON set_aside (set_aside_at, id) WHERE ended_at IS NULL;

-- Up to where the ledger is known to have every event of the sender's log.
CREATE TABLE reconciliation (
    only_row      boolean     PRIMARY KEY DEFAULT true CHECK (only_row),
    settled_until timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL DEFAULT now()
);

-- What operators did, by whom.
CREATE TABLE intervention (
    id       bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at       timestamptz NOT NULL DEFAULT now(),
    operator text        NOT NULL,
    action   text        NOT NULL,
    target   text        NOT NULL,
    note     text        NOT NULL DEFAULT ''
);
