-- +goose Up

-- One key per member, wrapped by the key set. By parts, so that the file of one is written
-- anew in milliseconds after an erasure: what a row said stays in its file until then.
CREATE TABLE member_key (
    member  text        PRIMARY KEY,             -- as in messaging's tables: issuer name : sub
    id      uuid        NOT NULL,                -- random; beside all that the key has sealed
    wrapped bytea       NOT NULL,                -- 32 random bytes, sealed by the key set
    made_at timestamptz NOT NULL DEFAULT now()
) PARTITION BY HASH (member);
-- +goose StatementBegin
DO $$
BEGIN
	FOR n IN 0..31 LOOP
		EXECUTE format('CREATE TABLE member_key_%s PARTITION OF member_key FOR VALUES WITH (MODULUS 32, REMAINDER %s)', n, n);
		-- ANALYZE copies values of a column into pg_statistic, where they outlive their rows.
		EXECUTE format('ALTER TABLE member_key_%s ALTER member SET STATISTICS 0, ALTER id SET STATISTICS 0, ALTER wrapped SET STATISTICS 0', n);
	END LOOP;
	ALTER TABLE ONLY member_key ALTER member SET STATISTICS 0, ALTER id SET STATISTICS 0, ALTER wrapped SET STATISTICS 0;
END $$;
-- +goose StatementEnd

-- The keys that were erased: what they sealed is erased in any copy of messaging's database
-- that comes back from before. A row says nothing about anybody.
CREATE TABLE erased_key (
    id        uuid        PRIMARY KEY,
    erased_at timestamptz NOT NULL DEFAULT now(),
    lies_in   text,                              -- the part whose file still has it, or may have a copy
    scrubbed_at timestamptz                      -- when the part was last written anew
);
CREATE INDEX erased_key_age ON erased_key (erased_at);
CREATE INDEX erased_key_lies ON erased_key (lies_in) WHERE lies_in IS NOT NULL;

-- What shows that a process's key set is the one that wraps the keys here: a constant, sealed by
-- it. The first process makes it.
CREATE TABLE keyset_check (
    id     boolean PRIMARY KEY DEFAULT true CHECK (id),
    sealed bytea   NOT NULL
);

-- Which keys each process has in its key set, so that a key is known to all before it wraps
-- anything. A process renews its row every ten seconds, and one of a minute ago is no more.
CREATE TABLE keyset_reader (
    process     uuid        PRIMARY KEY,
    primary_key bigint      NOT NULL,              -- tink's id of the key that wraps
    key_ids     bigint[]    NOT NULL,              -- of those that unwrap
    seen_at     timestamptz NOT NULL DEFAULT now()
);

-- +goose Down
DROP TABLE keyset_reader, keyset_check, erased_key, member_key;
