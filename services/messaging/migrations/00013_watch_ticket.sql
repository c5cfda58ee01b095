-- +goose Up

-- Tickets that were given and not used, as digests, which cannot be redeemed. Rows are good
-- for one minute.
CREATE TABLE watch_ticket (
    digest     bytea       PRIMARY KEY,          -- SHA-256 of the ticket
    subject    text        NOT NULL,             -- who got it
    identity   jsonb       NOT NULL,             -- what they may do, without a name or an address
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX watch_ticket_of ON watch_ticket (subject, created_at);
CREATE INDEX watch_ticket_age ON watch_ticket (created_at);

-- +goose Down
DROP TABLE watch_ticket;
