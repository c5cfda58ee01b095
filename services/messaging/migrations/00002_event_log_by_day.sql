-- +goose Up

-- The event log by days (UTC), so that old days are dropped at the price of a
-- file. The process makes the days ahead of time; a row for which there is no day
-- goes into the default partition, so that no insert ever fails for want of one.
--
-- The key begins with the time, because that is how the log is read. It cannot
-- be the id alone: an id is unique by how it is drawn (UUIDv7), and while it is in
-- the outbox also by that table's key.
-- contract: one transaction; after it the name has the same columns, and more room.
ALTER TABLE event_log RENAME TO event_log_undivided;
-- contract: programs do not name indexes of this table.
ALTER INDEX event_log_pkey RENAME TO event_log_undivided_pkey;
-- contract: programs do not name indexes of this table.
ALTER INDEX event_log_created RENAME TO event_log_undivided_created;

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

INSERT INTO event_log SELECT seq, id, type, caisse, conversation_id, payload, created_at FROM event_log_undivided;
SELECT setval('event_log_number', (SELECT max(seq) FROM event_log_undivided)) WHERE EXISTS (SELECT FROM event_log_undivided);
-- contract: the name is of this migration, its rows are in event_log.
DROP TABLE event_log_undivided;
