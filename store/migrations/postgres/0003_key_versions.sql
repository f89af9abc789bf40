-- A logical key has versions, a version has copies. Nothing of it is ever deleted. Times are Unix seconds.
CREATE TABLE keys (
    id         TEXT COLLATE "C" PRIMARY KEY,
    group_id   TEXT COLLATE "C" NOT NULL,
    algorithm  TEXT NOT NULL CHECK (algorithm IN ('sm2', 'p256', 'rsa2048', 'sm4', 'aes256', 'hmac-sha256')),
    purpose    TEXT NOT NULL CHECK (purpose IN
        ('service', 'tls', 'token', 'audit', 'tsa', 'seal', 'ca', 'kek', 'personal', 'front')),
    label      TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (id, group_id)
);

CREATE TABLE key_versions (
    key_id               TEXT COLLATE "C" NOT NULL,
    group_id             TEXT COLLATE "C" NOT NULL,
    version              BIGINT NOT NULL CHECK (version > 0),
    state                TEXT NOT NULL CHECK (state IN ('pending', 'active', 'retiring', 'retired', 'destroyed')),
    spread               TEXT NOT NULL CHECK (spread IN ('wrap', 'clone', 'per-device')),
    cka_id               BYTEA NOT NULL CHECK (length(cka_id) > 0),
    wrapping_key         TEXT,     -- the key that wrapped it for spreading
    wrapping_key_version BIGINT CHECK ((wrapping_key_version IS NULL) = (wrapping_key IS NULL)),
    created_at           BIGINT NOT NULL,
    activates_at         BIGINT,   -- from then on it signs
    retires_at           BIGINT,   -- until then it overlaps with its successor; afterwards, when it was retired
    destroyed_at         BIGINT,
    PRIMARY KEY (key_id, version),
    UNIQUE (group_id, cka_id),
    FOREIGN KEY (key_id, group_id) REFERENCES keys (id, group_id)
);

CREATE UNIQUE INDEX key_versions_one_active ON key_versions (key_id) WHERE state = 'active';
CREATE UNIQUE INDEX key_versions_one_pending ON key_versions (key_id) WHERE state = 'pending';

CREATE TABLE key_copies (
    key_id            TEXT COLLATE "C" NOT NULL,
    version           BIGINT NOT NULL,
    device            TEXT COLLATE "C" NOT NULL,  -- empty: the same key in every device of the group
    public_key        BYTEA,         -- SubjectPublicKeyInfo, DER
    certificate_chain TEXT NOT NULL, -- PEM, signer first; empty when the copy has none
    created_at        BIGINT NOT NULL,
    PRIMARY KEY (key_id, version, device),
    FOREIGN KEY (key_id, version) REFERENCES key_versions (key_id, version)
);

CREATE TRIGGER keys_are_fixed BEFORE UPDATE ON keys FOR EACH ROW
    WHEN ((NEW.id, NEW.group_id, NEW.algorithm, NEW.purpose, NEW.created_at)
        IS DISTINCT FROM (OLD.id, OLD.group_id, OLD.algorithm, OLD.purpose, OLD.created_at))
    EXECUTE FUNCTION refuse('the purpose of a key is fixed at creation, as are its group and algorithm');

CREATE TRIGGER key_versions_follow_their_life BEFORE UPDATE ON key_versions FOR EACH ROW
    WHEN (NEW.state <> OLD.state AND OLD.state || '>' || NEW.state NOT IN
        ('pending>active', 'pending>destroyed', 'active>retiring', 'active>retired', 'retiring>retired',
         'retired>destroyed'))
    EXECUTE FUNCTION refuse('a version of a key does not go back');

CREATE TRIGGER key_versions_are_fixed BEFORE UPDATE OF key_id, group_id, version, spread, cka_id ON key_versions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('how a version of a key is found is fixed at creation');

CREATE TRIGGER key_copies_keep_their_public_key BEFORE UPDATE ON key_copies FOR EACH ROW
    WHEN (OLD.public_key IS NOT NULL AND NEW.public_key IS DISTINCT FROM OLD.public_key)
    EXECUTE FUNCTION refuse('the public key of a copy does not change');

CREATE TRIGGER keys_no_delete BEFORE DELETE OR TRUNCATE ON keys
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('a key is never deleted');

CREATE TRIGGER key_versions_no_delete BEFORE DELETE OR TRUNCATE ON key_versions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('a version of a key is never deleted');

CREATE TRIGGER key_copies_no_delete BEFORE DELETE OR TRUNCATE ON key_copies
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('a copy of a key is never deleted');
