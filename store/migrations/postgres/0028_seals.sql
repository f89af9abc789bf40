-- The same as for SQLite.
CREATE TABLE seals (
    id           TEXT COLLATE "C" PRIMARY KEY,  -- esID of GB/T 38540
    kind         TEXT NOT NULL CHECK (kind IN ('agency', 'enterprise', 'person')),
    holder       TEXT NOT NULL,         -- the holder's name, as certificates have it
    uscc         TEXT COLLATE "C",      -- the holder's unified social credit code
    octets       BYTEA NOT NULL,        -- SESeal, DER: name, validity, picture and list are in it
    certificates TEXT NOT NULL,         -- of those who may use it, PEM; the seal may hold their digests alone
    state        TEXT NOT NULL CHECK (state IN ('active', 'suspended', 'revoked', 'replaced')),
    replaced_by  TEXT COLLATE "C",      -- the seal that took its place
    version      BIGINT NOT NULL CHECK (version > 0),  -- grows with every change of state
    reason       TEXT NOT NULL,         -- of the last change
    actor        TEXT NOT NULL,         -- as the audit log names people and apps
    created_at   BIGINT NOT NULL,
    changed_at   BIGINT NOT NULL,
    revision     BIGINT NOT NULL DEFAULT 0,
    code         BYTEA,                 -- HMAC-SM3 over the row; NULL only where there is no data key yet
    CHECK ((state = 'replaced') = (replaced_by IS NOT NULL)),
    CHECK (kind = 'person' OR uscc IS NOT NULL)
);

CREATE INDEX seals_by_holder ON seals (uscc);

CREATE TRIGGER seals_are_fixed
    BEFORE UPDATE OF id, kind, holder, uscc, octets, certificates, created_at ON seals
    FOR EACH ROW EXECUTE FUNCTION refuse('what a seal is never changes');

CREATE TRIGGER seals_do_not_come_back BEFORE UPDATE OF state ON seals
    FOR EACH ROW WHEN (OLD.state <> NEW.state AND OLD.state IN ('revoked', 'replaced'))
    EXECUTE FUNCTION refuse('a seal that was revoked or replaced does not come back');

CREATE TRIGGER seals_no_delete BEFORE DELETE OR TRUNCATE ON seals
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('a seal is never forgotten');

-- What became of each seal, in the transaction that puts it on record; `log` and `idx` say where.
CREATE TABLE seal_events (
    seal    TEXT COLLATE "C" NOT NULL REFERENCES seals (id),
    version BIGINT NOT NULL,
    state   TEXT NOT NULL,
    reason  TEXT NOT NULL,
    actor   TEXT NOT NULL,
    at      BIGINT NOT NULL,
    log     BIGINT NOT NULL,
    idx     BIGINT NOT NULL,
    PRIMARY KEY (seal, version)
);

CREATE TRIGGER seal_events_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON seal_events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('what became of a seal does not change and is never forgotten');
