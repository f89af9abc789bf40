-- The files of licenses (公示版). Their contents lie beside the database, by their digests.
CREATE TABLE license_files (
    id         INTEGER PRIMARY KEY AUTOINCREMENT, -- in the order they came in: the last one is delivered
    uscc       TEXT NOT NULL REFERENCES entities (uscc),
    kind       TEXT NOT NULL CHECK (kind IN ('ofd', 'pdf')),
    digest     TEXT NOT NULL UNIQUE,    -- SM3 of the contents, hexadecimal: what they are called
    octets     INTEGER NOT NULL CHECK (octets > 0),
    parts      BLOB NOT NULL,           -- SM3 of each MiB, one after the other
    source     TEXT NOT NULL,           -- the name it came under
    added_at   INTEGER NOT NULL,        -- Unix seconds
    removed_at INTEGER                  -- Unix seconds: since then it is not delivered
) STRICT;

CREATE INDEX license_files_by_entity ON license_files (uscc, kind, id);

CREATE TRIGGER license_files_are_fixed BEFORE UPDATE OF id, uscc, kind, digest, octets, parts, source, added_at
ON license_files
BEGIN
    SELECT RAISE(ABORT, 'what a license file is does not change');
END;
