-- The same as for SQLite.
CREATE TABLE license_files (
    id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- in the order they came in: the last one is delivered
    uscc       TEXT COLLATE "C" NOT NULL REFERENCES entities (uscc),
    kind       TEXT NOT NULL CHECK (kind IN ('ofd', 'pdf')),
    digest     TEXT COLLATE "C" NOT NULL UNIQUE, -- SM3 of the contents, hexadecimal: what they are called
    octets     BIGINT NOT NULL CHECK (octets > 0),
    parts      BYTEA NOT NULL,          -- SM3 of each MiB, one after the other
    source     TEXT NOT NULL,           -- the name it came under
    added_at   BIGINT NOT NULL,         -- Unix seconds
    removed_at BIGINT                   -- Unix seconds: since then it is not delivered
);

CREATE INDEX license_files_by_entity ON license_files (uscc, kind, id);

CREATE TRIGGER license_files_are_fixed
    BEFORE UPDATE OF id, uscc, kind, digest, octets, parts, source, added_at ON license_files
    FOR EACH ROW EXECUTE FUNCTION refuse('what a license file is does not change');
