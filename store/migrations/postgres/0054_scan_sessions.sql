-- Sessions of people who scan a QR code with their license (扫码): who asked for what, how far it is, and what was confirmed.
-- A session is advanced by its version, so that of two who act at once one does. Times are Unix seconds.
CREATE TABLE scan_sessions (
    id          TEXT COLLATE "C" PRIMARY KEY, -- 128 random bits; the QR code has it
    app         TEXT COLLATE "C" NOT NULL,    -- who asked, and alone may see it
    flow        TEXT COLLATE "C" NOT NULL CHECK (flow IN ('login', 'login_sign', 'sign', 'authorise')),
    state       TEXT COLLATE "C" NOT NULL CHECK (state IN (
        'created', 'scanned', 'confirmed', 'consumed', 'rejected', 'cancelled', 'expired', 'replaced')),
    version     BIGINT NOT NULL CHECK (version >= 1), -- counts the states
    terms       BYTEA,                        -- sealed: what is asked; NULL when its time is over
    phone       BYTEA CHECK (length(phone) = 32), -- SM3 of the secret of the phone that scanned
    result      BYTEA,                        -- sealed: what was confirmed, with its proof; NULL when its time is over
    replaced_by TEXT COLLATE "C",
    created_at  BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL,              -- of its present state
    changed_at  BIGINT NOT NULL
);

CREATE INDEX scan_sessions_due ON scan_sessions (expires_at) WHERE state IN ('created', 'scanned', 'confirmed');
CREATE INDEX scan_sessions_kept ON scan_sessions (changed_at);
CREATE INDEX scan_sessions_full ON scan_sessions (changed_at) WHERE terms IS NOT NULL;

CREATE TRIGGER scan_sessions_same BEFORE UPDATE ON scan_sessions
    FOR EACH ROW WHEN (
        (NEW.id, NEW.app, NEW.flow, NEW.created_at) IS DISTINCT FROM (OLD.id, OLD.app, OLD.flow, OLD.created_at)
    )
    EXECUTE FUNCTION refuse('a session stays what it was asked for');

CREATE TRIGGER scan_sessions_forward BEFORE UPDATE ON scan_sessions
    FOR EACH ROW WHEN (
        NEW.state <> OLD.state AND NOT (NEW.version = OLD.version + 1 AND (
            (OLD.state = 'created' AND NEW.state IN ('scanned', 'cancelled', 'expired', 'replaced'))
            OR (OLD.state = 'scanned' AND NEW.state IN ('confirmed', 'rejected', 'cancelled', 'expired', 'replaced'))
            OR (OLD.state = 'confirmed' AND NEW.state IN ('consumed', 'expired'))))
    )
    EXECUTE FUNCTION refuse('a session goes forward, a state at a time');

-- Wakes whoever waits for a session, at whichever gateway, when the transaction that changed it commits.
CREATE FUNCTION tell_session() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('license_gateway_sessions', NEW.id);
    RETURN NULL;
END
$$;

CREATE TRIGGER scan_sessions_tell AFTER UPDATE OF state ON scan_sessions
    FOR EACH ROW EXECUTE FUNCTION tell_session();
