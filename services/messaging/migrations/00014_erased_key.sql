-- +goose Up

-- The idempotency keys of conversations that were erased, so that a late repeat of a
-- submission does not store it again. Without the key, which is random and the caller's, a row
-- says nothing about anybody.
CREATE TABLE erased_key (
    digest    bytea       PRIMARY KEY,          -- SHA-256 of member and key
    erased_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX erased_key_age ON erased_key (erased_at);

-- +goose Down
DROP TABLE erased_key;
