-- +goose Up

-- Up to which time of the sender's log events were forgotten. What lies before is not
-- compared with that log again: it would be taken for missing, and sent once more.
CREATE TABLE forgotten (
    only_row boolean     PRIMARY KEY DEFAULT true CHECK (only_row),
    until    timestamptz NOT NULL
);

-- +goose Down
DROP TABLE forgotten;
