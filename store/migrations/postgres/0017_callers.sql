-- The same as for SQLite.
CREATE TABLE callers (
    id         TEXT COLLATE "C" PRIMARY KEY,
    name       TEXT NOT NULL,
    scopes     TEXT NOT NULL,    -- sets are JSON arrays of strings: an app is always read whole
    key_ids    TEXT NOT NULL,
    group_ids  TEXT NOT NULL,
    fields     TEXT NOT NULL,
    packages   TEXT NOT NULL DEFAULT '[]',
    contacts   BYTEA,            -- JSON array of strings
    rate       BIGINT CHECK (rate > 0),   -- requests a second
    burst      BIGINT CHECK (burst > 0),
    not_before BIGINT,
    not_after  BIGINT,
    state      TEXT NOT NULL CHECK (state IN ('enabled', 'disabled', 'locked')),
    reason     TEXT NOT NULL DEFAULT '',  -- of the state
    created_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    CHECK ((rate IS NULL) = (burst IS NULL))
);

CREATE TABLE app_credentials (
    id             TEXT COLLATE "C" PRIMARY KEY,
    app            TEXT COLLATE "C" NOT NULL REFERENCES callers (id),
    kind           TEXT NOT NULL CHECK (kind IN
        ('api-key', 'hmac-sm3', 'hmac-sha256', 'sm2', 'p256', 'certificate', 'certificate-name')),
    -- api-key: SM3 of the key. hmac: the secret, sealed. sm2, p256: SubjectPublicKeyInfo.
    -- certificate: SHA-256 of it. certificate-name: the issuer's name in DER.
    material       BYTEA NOT NULL CHECK (length(material) > 0),
    subject        BYTEA,            -- certificate-name: the subject's name in DER
    label          TEXT NOT NULL,
    not_before     BIGINT NOT NULL,
    not_after      BIGINT,
    created_at     BIGINT NOT NULL,
    revoked_at     BIGINT,
    revoked_reason TEXT,
    CHECK ((subject IS NOT NULL) = (kind = 'certificate-name')),
    CHECK ((revoked_at IS NULL) = (revoked_reason IS NULL))
);

CREATE INDEX app_credentials_by_app ON app_credentials (app);
-- What alone says who somebody is says it of one app.
CREATE UNIQUE INDEX app_credentials_api_key ON app_credentials (material) WHERE kind = 'api-key';
CREATE UNIQUE INDEX app_credentials_certificate ON app_credentials (material)
    WHERE kind = 'certificate' AND revoked_at IS NULL;
CREATE UNIQUE INDEX app_credentials_certificate_name ON app_credentials (material, subject)
    WHERE kind = 'certificate-name' AND revoked_at IS NULL;

INSERT INTO callers (id, name, scopes, key_ids, group_ids, fields, state, created_at, changed_at)
    SELECT id, name, scopes, key_ids, group_ids, fields, CASE WHEN enabled THEN 'enabled' ELSE 'disabled' END,
        extract(epoch FROM now())::BIGINT, extract(epoch FROM now())::BIGINT FROM apps;
INSERT INTO app_credentials (id, app, kind, material, label, not_before, created_at)
    SELECT substr(md5(random()::TEXT || id), 1, 16), id, 'api-key', api_key_digest,
        'from before credentials had names', extract(epoch FROM now())::BIGINT, extract(epoch FROM now())::BIGINT
    FROM apps WHERE api_key_digest IS NOT NULL;
DROP TABLE apps;
ALTER TABLE callers RENAME TO apps;

CREATE TRIGGER app_credentials_are_fixed BEFORE UPDATE OF id, app, kind, material, subject, created_at ON app_credentials
    FOR EACH ROW EXECUTE FUNCTION refuse('what a credential proves is fixed when it is entered');

CREATE TRIGGER app_credentials_stay_revoked BEFORE UPDATE OF revoked_at ON app_credentials
    FOR EACH ROW WHEN (OLD.revoked_at IS NOT NULL)
    EXECUTE FUNCTION refuse('a revoked credential stays revoked');

CREATE TRIGGER app_credentials_no_delete BEFORE DELETE OR TRUNCATE ON app_credentials
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('a credential is never deleted');

CREATE TRIGGER apps_no_delete BEFORE DELETE OR TRUNCATE ON apps
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('an app is never deleted');

CREATE TRIGGER apps_tell AFTER INSERT OR UPDATE ON apps FOR EACH STATEMENT EXECUTE FUNCTION tell('apps');
CREATE TRIGGER app_credentials_tell AFTER INSERT OR UPDATE ON app_credentials
    FOR EACH STATEMENT EXECUTE FUNCTION tell('apps');

-- Counts every change to apps and credentials, so that replicas see by one row that there is one.
CREATE TABLE app_register (
    one      BIGINT PRIMARY KEY CHECK (one = 1),
    revision BIGINT NOT NULL
);
INSERT INTO app_register (one, revision) VALUES (1, 1);

-- Nonces that were seen: of signed requests, and the ids of client assertions.
CREATE TABLE nonces (
    space      TEXT COLLATE "C" NOT NULL,    -- 'request' or 'assertion'
    app        TEXT COLLATE "C" NOT NULL,
    nonce      TEXT COLLATE "C" NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (space, app, nonce)
);

CREATE INDEX nonces_by_age ON nonces (expires_at);
