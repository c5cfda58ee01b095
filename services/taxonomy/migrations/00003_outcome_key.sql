-- +goose Up

-- The calls that have been counted, so that a repeated one is not: digests, which lead to
-- nobody without the key that the caller has drawn. They are deleted after a day (outcome.go).
CREATE TABLE outcome_key (
    digest     bytea       PRIMARY KEY, -- of the caller and their idempotency key
    request    bytea       NOT NULL,    -- of what was counted
    counted_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX outcome_key_age ON outcome_key (counted_at);

-- +goose Down
DROP TABLE outcome_key;
