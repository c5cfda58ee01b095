-- +goose Up

-- For how many years after its end a conversation is kept, by the taxonomy when it was
-- selected; NULL: as long as MESSAGING_CONVERSATION_RETENTION says.
ALTER TABLE conversation ADD COLUMN retention_years smallint;
-- Since when it is kept whatever its term is, and why, sealed as notes are; NULL: it is not.
ALTER TABLE conversation ADD COLUMN held_at timestamptz;
ALTER TABLE conversation ADD COLUMN hold_note bytea;

-- How many conversations were deleted at their term in each hour of the last two days; those
-- without any have no row.
CREATE TABLE purge_slot (
    slot timestamptz PRIMARY KEY,
    n    integer     NOT NULL
);

-- +goose Down
DROP TABLE purge_slot;
ALTER TABLE conversation DROP COLUMN hold_note, DROP COLUMN held_at, DROP COLUMN retention_years;
