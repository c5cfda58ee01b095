-- +goose Up

-- A member's further message has 1 character or more, be it "Oui."; the first, which has no key,
-- 10 as before. Whatever is stored fits: not validating it spares the rows a look.
-- contract: it takes all that the version before writes.
ALTER TABLE message
    ADD CONSTRAINT message_chars_check CHECK (
        body_chars BETWEEN 10 AND 750
        OR author = 1 AND idempotency_key IS NOT NULL AND body_chars BETWEEN 1 AND 750
        OR author = 2 AND body_chars BETWEEN 1 AND 5000) NOT VALID,
    DROP CONSTRAINT message_check;

-- +goose Down
ALTER TABLE message
    ADD CONSTRAINT message_check CHECK (body_chars BETWEEN 10 AND 750 OR author = 2 AND body_chars BETWEEN 1 AND 5000) NOT VALID,
    DROP CONSTRAINT message_chars_check;
