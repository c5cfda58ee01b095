-- +goose Up

-- How many submissions each ten seconds of the last two hours have, added up by the process
-- when they are past (status.go); those without any have no row.
CREATE TABLE submission_slot (
    slot timestamptz PRIMARY KEY,
    n    integer     NOT NULL
);

-- +goose Down
DROP TABLE submission_slot;
