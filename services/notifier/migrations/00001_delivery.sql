-- +goose Up

-- One row for each (event, channel): what must be sent, and what became of it.
-- No contact point, no name and no text is ever stored here; recipients are
-- asked for when a delivery is rendered.
CREATE TABLE delivery (
    event_id            uuid        NOT NULL,
    channel             text        NOT NULL CHECK (channel IN ('EMAIL', 'SMS')),
    event_type          text        NOT NULL,
    conversation_id     uuid        NOT NULL,
    caisse              text        NOT NULL,
    -- planned, retry and unknown wait for next_attempt_at; sending holds a lease;
    -- the others are final. See the package documentation for the diagram.
    state               text        NOT NULL DEFAULT 'planned'
        CHECK (state IN ('planned', 'sending', 'retry', 'unknown', 'accepted', 'refused', 'expired', 'suppressed')),
    -- Counted before each call; selects the next retry delay.
    attempts            integer     NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    -- How many attempts ended without our knowing whether the provider took it.
    unknowns            integer     NOT NULL DEFAULT 0 CHECK (unknowns >= 0),
    -- The last attempt: who records an outcome under another id is too late.
    attempt_id          uuid,
    lease_until         timestamptz,
    next_attempt_at     timestamptz,
    -- When it happened, by the sender's database.
    occurred_at         timestamptz NOT NULL,
    -- After this, sending does more harm than good.
    expires_at          timestamptz NOT NULL,
    provider            text        NOT NULL DEFAULT '',
    provider_message_id text        NOT NULL DEFAULT '',
    -- Why it is in this state: a code, never a provider's words.
    reason              text        NOT NULL DEFAULT '',
    -- W3C traceparent of the event, empty if it had none.
    trace_context       text        NOT NULL DEFAULT '',
    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (event_id, channel),
    CHECK ((state = 'sending') = (lease_until IS NOT NULL)),
    CHECK ((state IN ('planned', 'retry', 'unknown')) = (next_attempt_at IS NOT NULL)),
    CHECK (state <> 'sending' OR attempt_id IS NOT NULL)
) WITH (autovacuum_vacuum_scale_factor = 0.02);

CREATE INDEX delivery_due ON delivery (channel, next_attempt_at) WHERE state IN ('planned', 'retry', 'unknown');
CREATE INDEX delivery_lease ON delivery (lease_until) WHERE state = 'sending';
CREATE INDEX delivery_conversation ON delivery (conversation_id);

-- What was tried, in order; rows are added and never changed. An attempt whose
-- process died has a row written by the sweeper, and a second one if the process
-- came back with an answer after all.
CREATE TABLE attempt (
    id                  bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id            uuid        NOT NULL,
    channel             text        NOT NULL,
    attempt_id          uuid        NOT NULL,
    started_at          timestamptz NOT NULL,
    finished_at         timestamptz NOT NULL DEFAULT now(),
    provider            text        NOT NULL DEFAULT '',
    outcome             text        NOT NULL
        CHECK (outcome IN ('accepted', 'refused', 'not_sent', 'config_fault', 'unknown', 'suppressed')),
    -- 0 when no answer came.
    http_status         integer     NOT NULL DEFAULT 0,
    provider_message_id text        NOT NULL DEFAULT '',
    reason              text        NOT NULL DEFAULT '',
    -- False: the delivery had gone on without this attempt when it ended.
    applied             boolean     NOT NULL
);

CREATE INDEX attempt_delivery ON attempt (event_id, channel);
