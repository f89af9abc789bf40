-- Keys kept outside the devices, wrapped by a key inside them. Times are Unix seconds.
CREATE TABLE wrapped_keys (
    key_id               TEXT COLLATE "C" PRIMARY KEY,
    owner                TEXT COLLATE "C" NOT NULL CHECK (length(owner) > 0),
    group_id             TEXT NOT NULL,
    wrapping_key         TEXT NOT NULL,
    wrapping_key_version BIGINT NOT NULL CHECK (wrapping_key_version > 0),
    algorithm            TEXT NOT NULL CHECK (algorithm IN ('sm2', 'p256', 'rsa2048')),
    public_key           BYTEA NOT NULL CHECK (length(public_key) > 0), -- SubjectPublicKeyInfo, DER
    blob                 BYTEA NOT NULL, -- empty once the key is destroyed
    mac                  BYTEA NOT NULL CHECK (length(mac) = 32),       -- binds the columns before it
    created_at           BIGINT NOT NULL,
    destroyed_at         BIGINT,
    CHECK ((length(blob) = 0) = (destroyed_at IS NOT NULL))
);

CREATE INDEX wrapped_keys_by_owner ON wrapped_keys (owner);

CREATE TRIGGER wrapped_keys_no_delete BEFORE DELETE OR TRUNCATE ON wrapped_keys
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('a wrapped key leaves its row behind');

CREATE TRIGGER wrapped_keys_are_destroyed_once BEFORE UPDATE ON wrapped_keys FOR EACH ROW
    WHEN (OLD.destroyed_at IS NOT NULL) EXECUTE FUNCTION refuse('a destroyed key stays destroyed');
