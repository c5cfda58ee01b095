-- +goose Up

-- Up to which time of the sender's log events were forgotten. What lies before is not
-- compared with that log again: it would be taken for missing, and sent once more.
CREATE TABLE forgotten (
    only_row boolean     PRIMARY KEY DEFAULT true CHECK (only_row),
    -- At first: what versions before may have forgotten was older than the shortest term.
    until    timestamptz NOT NULL DEFAULT now() - interval '30 days'
);
INSERT INTO forgotten (only_row) VALUES (true);

-- +goose Down
DROP TABLE forgotten;
