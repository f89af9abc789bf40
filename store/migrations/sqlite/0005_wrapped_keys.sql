-- Keys kept outside the devices, wrapped by a key inside them. Times are Unix seconds.
CREATE TABLE wrapped_keys (
    key_id               TEXT PRIMARY KEY,
    owner                TEXT NOT NULL CHECK (length(owner) > 0),
    group_id             TEXT NOT NULL,
    wrapping_key         TEXT NOT NULL,
    wrapping_key_version INTEGER NOT NULL CHECK (wrapping_key_version > 0),
    algorithm            TEXT NOT NULL CHECK (algorithm IN ('sm2', 'p256', 'rsa2048')),
    public_key           BLOB NOT NULL CHECK (length(public_key) > 0), -- SubjectPublicKeyInfo, DER
    blob                 BLOB NOT NULL,  -- empty once the key is destroyed
    mac                  BLOB NOT NULL CHECK (length(mac) = 32),       -- binds the columns before it
    created_at           INTEGER NOT NULL,
    destroyed_at         INTEGER,
    CHECK ((length(blob) = 0) = (destroyed_at IS NOT NULL))
) STRICT;

CREATE INDEX wrapped_keys_by_owner ON wrapped_keys (owner);

CREATE TRIGGER wrapped_keys_no_delete BEFORE DELETE ON wrapped_keys
BEGIN
    SELECT RAISE(ABORT, 'a wrapped key leaves its row behind');
END;

CREATE TRIGGER wrapped_keys_are_destroyed_once BEFORE UPDATE ON wrapped_keys WHEN OLD.destroyed_at IS NOT NULL
BEGIN
    SELECT RAISE(ABORT, 'a destroyed key stays destroyed');
END;
