-- +goose Up

-- How far the process is with what a migration leaves to it (backfill.go). A row each.
CREATE TABLE backfill (
    name     text        PRIMARY KEY,
    after    uuid        NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    ended_at timestamptz                          -- NULL: not yet
);

-- +goose Down
DROP TABLE backfill;
