-- +goose Up

-- Every version of the taxonomy that was ever current. The current one is the
-- highest. A row is never changed.
CREATE TABLE taxonomy_version (
    version      integer     PRIMARY KEY CHECK (version > 0),
    content      text        NOT NULL,  -- the YAML file, byte for byte
    published_at timestamptz NOT NULL DEFAULT now()
);

-- +goose Down
DROP TABLE taxonomy_version;
