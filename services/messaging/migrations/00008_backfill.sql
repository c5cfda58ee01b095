-- +goose Up

-- How far the process has got with the backfills that migrations leave to it (backfill.go),
-- one row each.
CREATE TABLE backfill (
    name     text        PRIMARY KEY,
    after    uuid        NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    ended_at timestamptz                          -- NULL: not yet
);

-- +goose Down
DROP TABLE backfill;
