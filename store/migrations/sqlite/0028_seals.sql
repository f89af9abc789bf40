-- Electronic seals. What a seal is never changes: its octets are signed by its maker. Times are Unix seconds.
CREATE TABLE seals (
    id           TEXT PRIMARY KEY,      -- esID of GB/T 38540
    kind         TEXT NOT NULL CHECK (kind IN ('agency', 'enterprise', 'person')),
    holder       TEXT NOT NULL,         -- the holder's name, as certificates have it
    uscc         TEXT,                  -- the holder's unified social credit code
    octets       BLOB NOT NULL,         -- SESeal, DER: name, validity, picture and list are in it
    certificates TEXT NOT NULL,         -- of those who may use it, PEM; the seal may hold their digests alone
    state        TEXT NOT NULL CHECK (state IN ('active', 'suspended', 'revoked', 'replaced')),
    replaced_by  TEXT,                  -- the seal that took its place
    version      INTEGER NOT NULL CHECK (version > 0),  -- grows with every change of state
    reason       TEXT NOT NULL,         -- of the last change
    actor        TEXT NOT NULL,         -- as the audit log names people and apps
    created_at   INTEGER NOT NULL,
    changed_at   INTEGER NOT NULL,
    revision     INTEGER NOT NULL DEFAULT 0,
    code         BLOB,                  -- HMAC-SM3 over the row; NULL only where there is no data key yet
    CHECK ((state = 'replaced') = (replaced_by IS NOT NULL)),
    CHECK (kind = 'person' OR uscc IS NOT NULL)
) STRICT;

CREATE INDEX seals_by_holder ON seals (uscc);

CREATE TRIGGER seals_are_fixed
BEFORE UPDATE OF id, kind, holder, uscc, octets, certificates, created_at ON seals
BEGIN
    SELECT RAISE(ABORT, 'what a seal is never changes');
END;

CREATE TRIGGER seals_do_not_come_back BEFORE UPDATE OF state ON seals
WHEN OLD.state <> NEW.state AND OLD.state IN ('revoked', 'replaced')
BEGIN
    SELECT RAISE(ABORT, 'a seal that was revoked or replaced does not come back');
END;

CREATE TRIGGER seals_no_delete BEFORE DELETE ON seals
BEGIN
    SELECT RAISE(ABORT, 'a seal is never forgotten');
END;

-- What became of each seal, in the transaction that puts it on record; `log` and `idx` say where.
CREATE TABLE seal_events (
    seal    TEXT NOT NULL REFERENCES seals (id),
    version INTEGER NOT NULL,
    state   TEXT NOT NULL,
    reason  TEXT NOT NULL,
    actor   TEXT NOT NULL,
    at      INTEGER NOT NULL,
    log     INTEGER NOT NULL,
    idx     INTEGER NOT NULL,
    PRIMARY KEY (seal, version)
) STRICT;

CREATE TRIGGER seal_events_no_update BEFORE UPDATE ON seal_events
BEGIN
    SELECT RAISE(ABORT, 'what became of a seal does not change');
END;

CREATE TRIGGER seal_events_no_delete BEFORE DELETE ON seal_events
BEGIN
    SELECT RAISE(ABORT, 'what became of a seal is never forgotten');
END;
