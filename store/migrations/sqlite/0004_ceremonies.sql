-- Who may confirm a key ceremony, and the ceremonies. Times are Unix seconds.
CREATE TABLE custodians (
    name        TEXT PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 64),
    secret_hash TEXT NOT NULL,     -- Argon2id, PHC string format
    enabled     INTEGER NOT NULL CHECK (enabled IN (0, 1)),
    created_at  INTEGER NOT NULL
) STRICT;

CREATE TABLE ceremonies (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    action      TEXT NOT NULL CHECK (length(action) > 0),
    parameters  TEXT NOT NULL,     -- JSON: what the custodians confirm
    reason      TEXT NOT NULL CHECK (length(reason) > 0),
    begun_by    TEXT NOT NULL,
    begun_at    INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL CHECK (expires_at > begun_at),
    needed      INTEGER NOT NULL CHECK (needed > 0),
    custodians  INTEGER NOT NULL,  -- how many were enabled when it began
    state       TEXT NOT NULL CHECK (state IN ('open', 'confirmed', 'done', 'failed', 'expired')),
    started_at  INTEGER,           -- when somebody began to carry it out; nobody else may then
    finished_at INTEGER,
    result      TEXT,              -- JSON
    CHECK (needed <= custodians)
) STRICT;

CREATE INDEX ceremonies_by_state ON ceremonies (state, expires_at);

CREATE TABLE ceremony_confirmations (
    ceremony  INTEGER NOT NULL REFERENCES ceremonies (id),
    custodian TEXT NOT NULL REFERENCES custodians (name),
    at        INTEGER NOT NULL,
    PRIMARY KEY (ceremony, custodian)
) STRICT;

CREATE TRIGGER ceremonies_are_fixed
BEFORE UPDATE OF id, action, parameters, reason, begun_by, begun_at, expires_at, needed, custodians ON ceremonies
BEGIN
    SELECT RAISE(ABORT, 'what custodians confirm does not change');
END;

CREATE TRIGGER ceremonies_no_delete BEFORE DELETE ON ceremonies
BEGIN
    SELECT RAISE(ABORT, 'a ceremony is never deleted');
END;

CREATE TRIGGER ceremony_confirmations_no_update BEFORE UPDATE ON ceremony_confirmations
BEGIN
    SELECT RAISE(ABORT, 'a confirmation does not change');
END;

CREATE TRIGGER ceremony_confirmations_no_delete BEFORE DELETE ON ceremony_confirmations
BEGIN
    SELECT RAISE(ABORT, 'a confirmation is never deleted');
END;
