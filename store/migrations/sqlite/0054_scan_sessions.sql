-- Sessions of people who scan a QR code with their license (扫码): who asked for what, how far it is, and what was confirmed.
-- A session is advanced by its version, so that of two who act at once one does. Times are Unix seconds.
CREATE TABLE scan_sessions (
    id          TEXT PRIMARY KEY,          -- 128 random bits; the QR code has it
    app         TEXT NOT NULL,             -- who asked, and alone may see it
    flow        TEXT NOT NULL CHECK (flow IN ('login', 'login_sign', 'sign', 'authorise')),
    state       TEXT NOT NULL CHECK (state IN (
        'created', 'scanned', 'confirmed', 'consumed', 'rejected', 'cancelled', 'expired', 'replaced')),
    version     INTEGER NOT NULL CHECK (version >= 1), -- counts the states
    terms       BLOB,                      -- sealed: what is asked; NULL when its time is over
    phone       BLOB CHECK (length(phone) = 32), -- SM3 of the secret of the phone that scanned
    result      BLOB,                      -- sealed: what was confirmed, with its proof; NULL when its time is over
    replaced_by TEXT,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,          -- of its present state
    changed_at  INTEGER NOT NULL
) STRICT;

CREATE INDEX scan_sessions_due ON scan_sessions (expires_at) WHERE state IN ('created', 'scanned', 'confirmed');
CREATE INDEX scan_sessions_kept ON scan_sessions (changed_at);
CREATE INDEX scan_sessions_full ON scan_sessions (changed_at) WHERE terms IS NOT NULL;

CREATE TRIGGER scan_sessions_same BEFORE UPDATE ON scan_sessions
WHEN NEW.id <> OLD.id OR NEW.app <> OLD.app OR NEW.flow <> OLD.flow OR NEW.created_at <> OLD.created_at
BEGIN
    SELECT RAISE(ABORT, 'a session stays what it was asked for');
END;

CREATE TRIGGER scan_sessions_forward BEFORE UPDATE ON scan_sessions
WHEN NEW.state <> OLD.state AND NOT (NEW.version = OLD.version + 1 AND (
    (OLD.state = 'created' AND NEW.state IN ('scanned', 'cancelled', 'expired', 'replaced'))
    OR (OLD.state = 'scanned' AND NEW.state IN ('confirmed', 'rejected', 'cancelled', 'expired', 'replaced'))
    OR (OLD.state = 'confirmed' AND NEW.state IN ('consumed', 'expired'))))
BEGIN
    SELECT RAISE(ABORT, 'a session goes forward, a state at a time');
END;
