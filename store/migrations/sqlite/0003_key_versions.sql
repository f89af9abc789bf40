-- A logical key has versions, a version has copies. Nothing of it is ever deleted. Times are Unix seconds.
CREATE TABLE logical_keys (
    id         TEXT PRIMARY KEY,
    group_id   TEXT NOT NULL,
    algorithm  TEXT NOT NULL CHECK (algorithm IN ('sm2', 'p256', 'rsa2048', 'sm4', 'aes256', 'hmac-sha256')),
    purpose    TEXT NOT NULL CHECK (purpose IN
        ('service', 'tls', 'token', 'audit', 'tsa', 'seal', 'ca', 'kek', 'personal', 'front')),
    label      TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (id, group_id)
) STRICT;

CREATE TABLE key_versions (
    key_id               TEXT NOT NULL,
    group_id             TEXT NOT NULL,
    version              INTEGER NOT NULL CHECK (version > 0),
    state                TEXT NOT NULL CHECK (state IN ('pending', 'active', 'retiring', 'retired', 'destroyed')),
    spread               TEXT NOT NULL CHECK (spread IN ('wrap', 'clone', 'per-device')),
    cka_id               BLOB NOT NULL CHECK (length(cka_id) > 0),
    wrapping_key         TEXT,     -- the key that wrapped it for spreading
    wrapping_key_version INTEGER CHECK ((wrapping_key_version IS NULL) = (wrapping_key IS NULL)),
    created_at           INTEGER NOT NULL,
    activates_at         INTEGER,  -- from then on it signs
    retires_at           INTEGER,  -- until then it overlaps with its successor; afterwards, when it was retired
    destroyed_at         INTEGER,
    PRIMARY KEY (key_id, version),
    UNIQUE (group_id, cka_id),
    FOREIGN KEY (key_id, group_id) REFERENCES logical_keys (id, group_id)
) STRICT;

CREATE UNIQUE INDEX key_versions_one_active ON key_versions (key_id) WHERE state = 'active';
CREATE UNIQUE INDEX key_versions_one_pending ON key_versions (key_id) WHERE state = 'pending';

CREATE TABLE key_copies (
    key_id            TEXT NOT NULL,
    version           INTEGER NOT NULL,
    device            TEXT NOT NULL,  -- empty: the same key in every device of the group
    public_key        BLOB,           -- SubjectPublicKeyInfo, DER
    certificate_chain TEXT NOT NULL,  -- PEM, signer first; empty when the copy has none
    created_at        INTEGER NOT NULL,
    PRIMARY KEY (key_id, version, device),
    FOREIGN KEY (key_id, version) REFERENCES key_versions (key_id, version)
) STRICT;

-- Until now a key was in use from the day it was entered: since when is not known, so the register says since now.
INSERT INTO logical_keys (id, group_id, algorithm, purpose, label, created_at)
    SELECT id, group_id, algorithm, purpose, label, unixepoch() FROM keys;
INSERT INTO key_versions (key_id, group_id, version, state, spread, cka_id, created_at, activates_at)
    SELECT id, group_id, 1, 'active', 'clone', cka_id, unixepoch(), unixepoch() FROM keys;
INSERT INTO key_copies (key_id, version, device, certificate_chain, created_at)
    SELECT id, 1, '', certificate_chain, unixepoch() FROM keys;
DROP TABLE keys;
ALTER TABLE logical_keys RENAME TO keys;

CREATE TRIGGER keys_are_fixed BEFORE UPDATE OF id, group_id, algorithm, purpose, created_at ON keys
WHEN NEW.purpose <> OLD.purpose OR NEW.id <> OLD.id OR NEW.group_id <> OLD.group_id
    OR NEW.algorithm <> OLD.algorithm OR NEW.created_at <> OLD.created_at
BEGIN
    SELECT RAISE(ABORT, 'the purpose of a key is fixed at creation, as are its group and algorithm');
END;

CREATE TRIGGER key_versions_follow_their_life BEFORE UPDATE OF state ON key_versions
WHEN NEW.state <> OLD.state AND OLD.state || '>' || NEW.state NOT IN
    ('pending>active', 'pending>destroyed', 'active>retiring', 'active>retired', 'retiring>retired',
     'retired>destroyed')
BEGIN
    SELECT RAISE(ABORT, 'a version of a key does not go back');
END;

CREATE TRIGGER key_versions_are_fixed BEFORE UPDATE OF key_id, group_id, version, spread, cka_id ON key_versions
BEGIN
    SELECT RAISE(ABORT, 'how a version of a key is found is fixed at creation');
END;

-- Only a migrated copy has none at first; once known it stays.
CREATE TRIGGER key_copies_keep_their_public_key BEFORE UPDATE OF public_key ON key_copies
WHEN OLD.public_key IS NOT NULL AND NEW.public_key IS NOT OLD.public_key
BEGIN
    SELECT RAISE(ABORT, 'the public key of a copy does not change');
END;

CREATE TRIGGER keys_no_delete BEFORE DELETE ON keys
BEGIN
    SELECT RAISE(ABORT, 'a key is never deleted');
END;

CREATE TRIGGER key_versions_no_delete BEFORE DELETE ON key_versions
BEGIN
    SELECT RAISE(ABORT, 'a version of a key is never deleted');
END;

CREATE TRIGGER key_copies_no_delete BEFORE DELETE ON key_copies
BEGIN
    SELECT RAISE(ABORT, 'a copy of a key is never deleted');
END;
