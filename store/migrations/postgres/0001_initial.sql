-- The same tables as for SQLite, and the same rules as triggers. Texts that the gateway orders or compares by order
-- are of the collation "C", which is the order of SQLite and of Rust, whatever the database's own is.

-- What a trigger says that refuses.
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING MESSAGE = TG_ARGV[0], ERRCODE = 'integrity_constraint_violation';
END
$$;

-- Callers. Sets are JSON arrays of strings: an app is always read whole.
CREATE TABLE apps (
    id             TEXT COLLATE "C" PRIMARY KEY,
    name           TEXT NOT NULL,
    api_key_digest BYTEA UNIQUE CHECK (length(api_key_digest) = 32), -- SM3 of the key; the key itself is never stored
    scopes         TEXT NOT NULL,
    key_ids        TEXT NOT NULL,
    group_ids      TEXT NOT NULL,
    fields         TEXT NOT NULL,
    enabled        BOOLEAN NOT NULL
);

-- The license library. Times are Unix seconds.
CREATE TABLE entities (
    uscc         TEXT COLLATE "C" PRIMARY KEY CHECK (length(uscc) = 18),
    name         TEXT NOT NULL,
    entity_type  TEXT NOT NULL,
    status       BIGINT NOT NULL CHECK (status IN (1, 2, 3, 4, 5, 6, 9)),
    flags        TEXT NOT NULL,    -- JSON array of strings
    status_as_of BIGINT NOT NULL,
    face         TEXT NOT NULL     -- JSON object, field name to text
);

CREATE TABLE licenses (
    serial      TEXT COLLATE "C" PRIMARY KEY,
    uscc        TEXT COLLATE "C" NOT NULL REFERENCES entities (uscc),
    certificate BYTEA NOT NULL,    -- DER
    not_before  BIGINT NOT NULL,
    not_after   BIGINT NOT NULL,
    current     BOOLEAN NOT NULL
);

CREATE UNIQUE INDEX licenses_one_current ON licenses (uscc) WHERE current;

-- The audit log: leaves of a Merkle tree, dense from 0, append-only.
CREATE TABLE audit_entries (
    idx       BIGINT PRIMARY KEY CHECK (idx >= 0),
    entry     BYTEA NOT NULL,      -- canonical JSON
    leaf_hash BYTEA NOT NULL CHECK (length(leaf_hash) = 32) -- SM3(0x00 || entry)
);

-- Once per statement, not per row: an insert of many rows is judged as a whole.
CREATE FUNCTION audit_entries_are_dense() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    first BIGINT;
    last BIGINT;
    rows BIGINT;
BEGIN
    SELECT min(idx), max(idx), count(*) INTO first, last, rows FROM added;
    IF rows > 0 AND (last - first + 1 <> rows
        OR first <> (SELECT coalesce(max(idx), -1) + 1 FROM audit_entries WHERE idx < first)
        OR EXISTS (SELECT 1 FROM audit_entries WHERE idx > last)) THEN
        RAISE EXCEPTION USING MESSAGE = 'audit_entries grows by the next index only',
            ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER audit_entries_are_dense AFTER INSERT ON audit_entries
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION audit_entries_are_dense();

CREATE TRIGGER audit_entries_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('audit_entries is append-only');
