-- Callers. Sets are JSON arrays of strings: an app is always read whole.
CREATE TABLE apps (
    id             TEXT PRIMARY KEY,
    name           TEXT NOT NULL,
    api_key_digest BLOB UNIQUE CHECK (length(api_key_digest) = 32), -- SM3 of the key; the key itself is never stored
    scopes         TEXT NOT NULL,
    key_ids        TEXT NOT NULL,
    group_ids      TEXT NOT NULL,
    fields         TEXT NOT NULL,
    enabled        INTEGER NOT NULL CHECK (enabled IN (0, 1))
) STRICT;

-- Keys that live in devices. A key's purpose is fixed at creation.
CREATE TABLE keys (
    id                TEXT PRIMARY KEY,
    group_id          TEXT NOT NULL,
    algorithm         TEXT NOT NULL CHECK (algorithm IN ('sm2', 'p256', 'rsa2048')),
    purpose           TEXT NOT NULL CHECK (purpose IN
        ('service', 'tls', 'token', 'audit', 'tsa', 'seal', 'ca', 'kek', 'personal', 'front')),
    cka_id            BLOB NOT NULL CHECK (length(cka_id) > 0),
    label             TEXT NOT NULL,
    certificate_chain TEXT NOT NULL, -- PEM, signer first; empty when the key has none
    UNIQUE (group_id, cka_id)
) STRICT;

CREATE TRIGGER keys_purpose_is_fixed BEFORE UPDATE OF purpose ON keys
WHEN NEW.purpose <> OLD.purpose
BEGIN
    SELECT RAISE(ABORT, 'the purpose of a key is fixed at creation');
END;

-- The license library. Times are Unix seconds.
CREATE TABLE entities (
    uscc         TEXT PRIMARY KEY CHECK (length(uscc) = 18),
    name         TEXT NOT NULL,
    entity_type  TEXT NOT NULL,
    status       INTEGER NOT NULL CHECK (status IN (1, 2, 3, 4, 5, 6, 9)),
    flags        TEXT NOT NULL,    -- JSON array of strings
    status_as_of INTEGER NOT NULL,
    face         TEXT NOT NULL     -- JSON object, field name to text
) STRICT;

CREATE TABLE licenses (
    serial      TEXT PRIMARY KEY,
    uscc        TEXT NOT NULL REFERENCES entities (uscc),
    certificate BLOB NOT NULL,     -- DER
    not_before  INTEGER NOT NULL,
    not_after   INTEGER NOT NULL,
    current     INTEGER NOT NULL CHECK (current IN (0, 1))
) STRICT;

CREATE UNIQUE INDEX licenses_one_current ON licenses (uscc) WHERE current;

-- The audit log: leaves of a Merkle tree, dense from 0, append-only.
CREATE TABLE audit_entries (
    idx       INTEGER PRIMARY KEY,
    entry     BLOB NOT NULL,       -- canonical JSON
    leaf_hash BLOB NOT NULL CHECK (length(leaf_hash) = 32) -- SM3(0x00 || entry)
) STRICT;

-- Also what stops INSERT OR REPLACE, which deletes without firing delete triggers.
CREATE TRIGGER audit_entries_are_dense BEFORE INSERT ON audit_entries
WHEN NEW.idx <> (SELECT coalesce(max(idx), -1) + 1 FROM audit_entries)
BEGIN
    SELECT RAISE(ABORT, 'audit_entries grows by the next index only');
END;

CREATE TRIGGER audit_entries_no_update BEFORE UPDATE ON audit_entries
BEGIN
    SELECT RAISE(ABORT, 'audit_entries is append-only');
END;

CREATE TRIGGER audit_entries_no_delete BEFORE DELETE ON audit_entries
BEGIN
    SELECT RAISE(ABORT, 'audit_entries is append-only');
END;
