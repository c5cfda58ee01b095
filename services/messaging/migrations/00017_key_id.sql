-- +goose Up

-- What a row's texts are sealed by: the id of its member's key, which is in the vault
-- (internal/vault). Rows from before have none that is there. A constant default: the tables
-- are not written anew.
ALTER TABLE conversation ADD COLUMN key_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000';
-- contract: this version neither reads nor writes the column; the version before reads no text of this one.
ALTER TABLE conversation ALTER COLUMN data_key DROP NOT NULL;
ALTER TABLE member ADD COLUMN key_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000';
ALTER TABLE draft ADD COLUMN key_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000';

-- The keys that were erased: nothing that they have sealed may be stored any more, and a vault
-- that comes back from before loses them again. A row says nothing about anybody.
CREATE TABLE erased_member_key (
    id        uuid        PRIMARY KEY,
    erased_at timestamptz NOT NULL DEFAULT now(),
    seq       bigint      GENERATED ALWAYS AS IDENTITY,
    ended_at  timestamptz,                        -- when what they sealed was erased too; NULL: not yet
    retiring  uuid                                -- not erased yet: who looks whether it has sealed anything
);
CREATE INDEX erased_member_key_age ON erased_member_key (erased_at);
CREATE INDEX erased_member_key_seq ON erased_member_key (seq);
CREATE INDEX erased_member_key_open ON erased_member_key (erased_at) WHERE ended_at IS NULL;

-- The keys of members of whom something was deleted: perhaps they seal nothing any more, and
-- then go from the vault. Rows live for a day.
CREATE TABLE unused_key (
    id        uuid        PRIMARY KEY,
    member_id text        NOT NULL,
    noted_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX unused_key_age ON unused_key (noted_at);

-- +goose Down
DROP TABLE unused_key, erased_member_key;
ALTER TABLE draft DROP COLUMN key_id;
ALTER TABLE member DROP COLUMN key_id;
ALTER TABLE conversation DROP COLUMN key_id;
