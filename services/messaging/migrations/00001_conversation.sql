-- +goose Up

-- Who writes. Contact points are sealed by the key set. The row is committed before the
-- member's first conversation, and may outlive the last one (retention.go).
CREATE TABLE member (
    id         text        PRIMARY KEY,          -- issuer name : sub
    contact    bytea       NOT NULL,             -- sealed {email, phone}
    locale     text        NOT NULL CHECK (locale IN ('fr', 'en')),
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- Numbers behind references, reserved by blocks of 1000.
CREATE SEQUENCE reference_block AS bigint MINVALUE 0;

CREATE TABLE conversation (
    id               uuid        PRIMARY KEY,    -- UUIDv7, given by the process
    member_id        text        NOT NULL,
    idempotency_key  uuid        NOT NULL,
    reference        text        NOT NULL UNIQUE,
    caisse           text        NOT NULL,
    audience         smallint    NOT NULL CHECK (audience BETWEEN 1 AND 3),
    -- The selection, with the labels of the version it was made in.
    taxonomy_version integer     NOT NULL,
    theme            text        NOT NULL,
    theme_label      text        NOT NULL,
    topic            text        NOT NULL DEFAULT '',
    topic_label      text        NOT NULL DEFAULT '',
    reason           text        NOT NULL DEFAULT '',
    reason_label     text        NOT NULL DEFAULT '',
    queue            text        NOT NULL,
    queue_label      text        NOT NULL,
    answer_days      smallint    NOT NULL DEFAULT 0,
    -- messagerie.messaging.v1.Status
    status           smallint    NOT NULL DEFAULT 1 CHECK (status BETWEEN 1 AND 7),
    -- Counts the changes that were published as events.
    version          integer     NOT NULL DEFAULT 1,
    hidden           boolean     NOT NULL DEFAULT false,
    -- The last reply, and the last one that the member has read.
    last_reply_id    uuid,
    read_reply_id    uuid,
    unread           boolean     NOT NULL GENERATED ALWAYS AS
                     (last_reply_id IS NOT NULL AND last_reply_id IS DISTINCT FROM read_reply_id) STORED,
    claimed_by       text,
    claimed_name     text,
    claim_expires    timestamptz,
    data_key         bytea       NOT NULL,       -- wrapped by the key set
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    UNIQUE (member_id, idempotency_key)
);

CREATE INDEX conversation_of_member ON conversation (member_id, hidden, updated_at DESC, id DESC);
CREATE INDEX conversation_unread ON conversation (member_id) WHERE unread;
-- What waits for the fund: SENT, IN_PROGRESS, PARTLY_ANSWERED, REOPENED.
CREATE INDEX conversation_queue ON conversation (caisse, queue, created_at, id) WHERE status IN (1, 2, 3, 6);

CREATE TABLE message (
    id              uuid        PRIMARY KEY,     -- UUIDv7, given by the process
    conversation_id uuid        NOT NULL REFERENCES conversation (id),
    author          smallint    NOT NULL CHECK (author IN (1, 2)), -- MEMBER, AGENT
    -- Which agent; NULL for a member, who is the conversation's.
    agent_id        text,
    idempotency_key uuid,
    final           boolean     NOT NULL DEFAULT false,
    body            bytea       NOT NULL,        -- sealed by the data key
    body_chars      smallint    NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    CHECK (body_chars BETWEEN 10 AND 750 OR author = 2 AND body_chars BETWEEN 1 AND 5000),
    CHECK ((author = 2) = (agent_id IS NOT NULL)),
    UNIQUE (agent_id, idempotency_key)
);

CREATE INDEX message_of_conversation ON message (conversation_id, created_at, id);

-- Everything that was ever published, in the order of commits as far as a sequence shows
-- it. Never updated. No personal data in a payload.
--
-- Partitioned by day (UTC), so that dropping an old day costs no more than deleting a file.
-- The process makes the partitions ahead of time; a row for which there is none goes into
-- the default partition, so that no insert ever fails for want of one. The key begins with
-- the time, because that is how the log is read. It cannot be the id alone: an id is unique
-- by how it is generated (UUIDv7), and while it is in the outbox also by that table's key.
CREATE SEQUENCE event_log_number AS bigint;
CREATE TABLE event_log (
    seq             bigint      NOT NULL DEFAULT nextval('event_log_number'),
    id              uuid        NOT NULL, -- UUIDv7; the broker's message id
    type            text        NOT NULL,
    caisse          text        NOT NULL,
    conversation_id uuid        NOT NULL,
    payload         bytea       NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (created_at, id)
) PARTITION BY RANGE (created_at);
ALTER SEQUENCE event_log_number OWNED BY event_log.seq;
CREATE INDEX event_log_seq ON event_log (seq);
CREATE TABLE event_log_default PARTITION OF event_log DEFAULT;

-- What the broker has not acknowledged yet. Rows live for milliseconds, so the
-- table is kept small and vacuumed early.
CREATE TABLE outbox (
    id              uuid        PRIMARY KEY,
    type            text        NOT NULL,
    caisse          text        NOT NULL,
    conversation_id uuid        NOT NULL,
    payload         bytea       NOT NULL,
    trace           text        NOT NULL DEFAULT '', -- W3C traceparent of the call
    created_at      timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);

-- Which agent read or did what.
CREATE TABLE audit (
    seq             bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agent_id        text        NOT NULL,
    action          text        NOT NULL,
    conversation_id uuid        NOT NULL,
    at              timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX audit_of_conversation ON audit (conversation_id, at);

-- Versions of the taxonomy this service has seen, so that it works, and starts,
-- while the taxonomy service is away.
CREATE TABLE catalogue (
    version    integer     PRIMARY KEY,
    payload    bytea       NOT NULL,             -- messagerie.taxonomy.v1.Catalogue
    fetched_at timestamptz NOT NULL DEFAULT now()
);

-- +goose Down
DROP TABLE catalogue, audit, outbox, event_log, message, conversation, member;
DROP SEQUENCE reference_block;
