-- +goose Up

-- Whether a reply says why its conversation was closed, which is another letter. What a
-- version before plans and sends is a reply's in any case: it says that there is one to read.
ALTER TABLE delivery ADD COLUMN closing boolean NOT NULL DEFAULT false;

-- +goose Down
ALTER TABLE delivery DROP COLUMN closing;
