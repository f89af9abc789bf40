-- The same as for SQLite.
CREATE TABLE mandates (
    id              TEXT COLLATE "C" PRIMARY KEY,      -- its number
    enterprise      TEXT COLLATE "C" NOT NULL,         -- the unified social credit code
    name            TEXT NOT NULL,         -- the enterprise's, as its certificate has it
    grantor         BYTEA NOT NULL,        -- sealed: name and identity number of the legal representative
    evidence        TEXT NOT NULL,         -- SM3 of the document that grants it, hexadecimal
    apps            TEXT NOT NULL,         -- who may use it: a JSON array in order
    terms           TEXT NOT NULL,         -- what for, how often, how long: JSON
    key_id          TEXT COLLATE "C" NOT NULL UNIQUE,  -- in wrapped_keys
    code_key        TEXT COLLATE "C" NOT NULL,         -- from which key of the devices the wrapped key's outer code comes
    code_key_version BIGINT NOT NULL CHECK (code_key_version > 0),
    certificates    TEXT NOT NULL,         -- PEM, the key's own first; empty before there are any
    state           TEXT NOT NULL CHECK (state IN ('draft', 'active', 'suspended', 'ended')),
    version         BIGINT NOT NULL CHECK (version > 0),  -- grows with every change
    reason          TEXT NOT NULL,         -- of the last change
    actor           TEXT NOT NULL,         -- as the audit log names people and apps
    created_at      BIGINT NOT NULL,
    changed_at      BIGINT NOT NULL,
    revision        BIGINT NOT NULL DEFAULT 0,
    code            BYTEA NOT NULL,        -- HMAC-SM3 over the row
    CHECK (state NOT IN ('active', 'suspended') OR certificates <> '')
);

CREATE INDEX mandates_by_enterprise ON mandates (enterprise);

CREATE TRIGGER mandates_are_fixed
    BEFORE UPDATE OF id, enterprise, name, evidence, apps, terms, key_id, code_key, code_key_version, created_at ON mandates
    FOR EACH ROW EXECUTE FUNCTION refuse('what a mandate grants never changes');

CREATE TRIGGER mandates_certified_once BEFORE UPDATE OF certificates ON mandates
    FOR EACH ROW WHEN (OLD.certificates <> NEW.certificates AND OLD.state <> 'draft')
    EXECUTE FUNCTION refuse('a mandate keeps the certificate that it was activated with');

CREATE TRIGGER mandates_do_not_come_back BEFORE UPDATE OF state ON mandates
    FOR EACH ROW WHEN (OLD.state <> NEW.state AND (OLD.state = 'ended' OR NEW.state = 'draft'))
    EXECUTE FUNCTION refuse('a mandate that was ended does not come back');

CREATE TRIGGER mandates_no_delete BEFORE DELETE OR TRUNCATE ON mandates
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('a mandate is never forgotten');

-- For finding an app's; the mandate itself says whose it is.
CREATE TABLE mandate_apps (
    app     TEXT COLLATE "C" NOT NULL,
    mandate TEXT COLLATE "C" NOT NULL REFERENCES mandates (id),
    PRIMARY KEY (app, mandate)
);

-- What became of each mandate, in the transaction that puts it on record; `log` and `idx` say where.
CREATE TABLE mandate_events (
    mandate TEXT COLLATE "C" NOT NULL REFERENCES mandates (id),
    version BIGINT NOT NULL,
    state   TEXT NOT NULL,
    reason  TEXT NOT NULL,
    actor   TEXT NOT NULL,
    at      BIGINT NOT NULL,
    log     BIGINT NOT NULL,
    idx     BIGINT NOT NULL,
    PRIMARY KEY (mandate, version)
);

CREATE TRIGGER mandate_events_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON mandate_events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('what became of a mandate does not change and is never forgotten');

-- How many signatures were taken of each mandate on each day of the site, counted from 1970-01-01.
CREATE TABLE mandate_uses (
    mandate TEXT COLLATE "C" NOT NULL REFERENCES mandates (id),
    day     BIGINT NOT NULL,
    taken   BIGINT NOT NULL CHECK (taken >= 0),
    PRIMARY KEY (mandate, day)
);

-- Of a stamp in an enterprise's name: the mandate, JSON; its digest is in the entry with the rest.
ALTER TABLE stamps ADD COLUMN mandate TEXT;
