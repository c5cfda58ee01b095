-- +goose Up

-- How many conversations each agent has read or looked for, by hours of the clock, for four
-- weeks (internal/reading).
CREATE TABLE reading_hour (
    caisse     text        NOT NULL,
    agent_id   text        NOT NULL,
    hour       timestamptz NOT NULL,
    agent_name text        NOT NULL,
    n          integer     NOT NULL,
    PRIMARY KEY (caisse, agent_id, hour)
);
CREATE INDEX reading_hour_by_time ON reading_hour (hour, caisse, agent_id);

-- Up to which hour they are counted. Whoever locks the row counts.
CREATE TABLE reading_progress (
    one     boolean     PRIMARY KEY DEFAULT true CHECK (one),
    counted timestamptz NOT NULL
);
INSERT INTO reading_progress (counted) VALUES ('epoch');

-- Who reads much more than usual, and for a day who did.
CREATE TABLE unusual_reader (
    caisse     text        NOT NULL,
    agent_id   text        NOT NULL,
    agent_name text        NOT NULL,
    readings   integer     NOT NULL,             -- of the last 24 hours
    usual      integer     NOT NULL,             -- of a day, rounded
    unusual    boolean     NOT NULL,
    told_at    timestamptz NOT NULL,             -- when the log said so
    PRIMARY KEY (caisse, agent_id)
);

-- +goose Down
DROP TABLE unusual_reader, reading_progress, reading_hour;
