-- What an app may do and by what it proves itself. Times are Unix seconds.
CREATE TABLE callers (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    scopes     TEXT NOT NULL,    -- sets are JSON arrays of strings: an app is always read whole
    key_ids    TEXT NOT NULL,
    group_ids  TEXT NOT NULL,
    fields     TEXT NOT NULL,
    packages   TEXT NOT NULL DEFAULT '[]',
    contacts   BLOB,            -- JSON array of strings
    rate       INTEGER CHECK (rate > 0),   -- requests a second
    burst      INTEGER CHECK (burst > 0),
    not_before INTEGER,
    not_after  INTEGER,
    state      TEXT NOT NULL CHECK (state IN ('enabled', 'disabled', 'locked')),
    reason     TEXT NOT NULL DEFAULT '',   -- of the state
    created_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    CHECK ((rate IS NULL) = (burst IS NULL))
) STRICT;

CREATE TABLE app_credentials (
    id             TEXT PRIMARY KEY,
    app            TEXT NOT NULL REFERENCES callers (id),
    kind           TEXT NOT NULL CHECK (kind IN
        ('api-key', 'hmac-sm3', 'hmac-sha256', 'sm2', 'p256', 'certificate', 'certificate-name')),
    -- api-key: SM3 of the key. hmac: the secret, sealed. sm2, p256: SubjectPublicKeyInfo.
    -- certificate: SHA-256 of it. certificate-name: the issuer's name in DER.
    material       BLOB NOT NULL CHECK (length(material) > 0),
    subject        BLOB,             -- certificate-name: the subject's name in DER
    label          TEXT NOT NULL,
    not_before     INTEGER NOT NULL,
    not_after      INTEGER,
    created_at     INTEGER NOT NULL,
    revoked_at     INTEGER,
    revoked_reason TEXT,
    CHECK ((subject IS NOT NULL) = (kind = 'certificate-name')),
    CHECK ((revoked_at IS NULL) = (revoked_reason IS NULL))
) STRICT;

CREATE INDEX app_credentials_by_app ON app_credentials (app);
-- What alone says who somebody is says it of one app.
CREATE UNIQUE INDEX app_credentials_api_key ON app_credentials (material) WHERE kind = 'api-key';
CREATE UNIQUE INDEX app_credentials_certificate ON app_credentials (material)
    WHERE kind = 'certificate' AND revoked_at IS NULL;
CREATE UNIQUE INDEX app_credentials_certificate_name ON app_credentials (material, subject)
    WHERE kind = 'certificate-name' AND revoked_at IS NULL;

INSERT INTO callers (id, name, scopes, key_ids, group_ids, fields, state, created_at, changed_at)
    SELECT id, name, scopes, key_ids, group_ids, fields,
        CASE WHEN enabled <> 0 THEN 'enabled' ELSE 'disabled' END, unixepoch(), unixepoch() FROM apps;
INSERT INTO app_credentials (id, app, kind, material, label, not_before, created_at)
    SELECT lower(hex(randomblob(8))), id, 'api-key', api_key_digest, 'from before credentials had names',
        unixepoch(), unixepoch() FROM apps WHERE api_key_digest IS NOT NULL;
DROP TABLE apps;
ALTER TABLE callers RENAME TO apps;

CREATE TRIGGER app_credentials_are_fixed BEFORE UPDATE OF id, app, kind, material, subject, created_at ON app_credentials
BEGIN
    SELECT RAISE(ABORT, 'what a credential proves is fixed when it is entered');
END;

CREATE TRIGGER app_credentials_stay_revoked BEFORE UPDATE OF revoked_at ON app_credentials
WHEN OLD.revoked_at IS NOT NULL
BEGIN
    SELECT RAISE(ABORT, 'a revoked credential stays revoked');
END;

CREATE TRIGGER app_credentials_no_delete BEFORE DELETE ON app_credentials
BEGIN
    SELECT RAISE(ABORT, 'a credential is never deleted');
END;

CREATE TRIGGER apps_no_delete BEFORE DELETE ON apps
BEGIN
    SELECT RAISE(ABORT, 'an app is never deleted');
END;

-- Counts every change to apps and credentials, so that replicas see by one row that there is one.
CREATE TABLE app_register (
    one      INTEGER PRIMARY KEY CHECK (one = 1),
    revision INTEGER NOT NULL
) STRICT;
INSERT INTO app_register (one, revision) VALUES (1, 1);

-- Nonces that were seen: of signed requests, and the ids of client assertions.
CREATE TABLE nonces (
    space      TEXT NOT NULL,    -- 'request' or 'assertion'
    app        TEXT NOT NULL,
    nonce      TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (space, app, nonce)
) STRICT, WITHOUT ROWID;

CREATE INDEX nonces_by_age ON nonces (expires_at);
