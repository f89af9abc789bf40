-- Standing mandates: enterprises let apps sign in their name, within limits, by a wrapped key of the mandate's own. What was
-- granted never changes. Times are Unix seconds.
CREATE TABLE mandates (
    id              TEXT PRIMARY KEY,      -- its number
    enterprise      TEXT NOT NULL,         -- the unified social credit code
    name            TEXT NOT NULL,         -- the enterprise's, as its certificate has it
    grantor         BLOB NOT NULL,         -- sealed: name and identity number of the legal representative
    evidence        TEXT NOT NULL,         -- SM3 of the document that grants it, hexadecimal
    apps            TEXT NOT NULL,         -- who may use it: a JSON array in order
    terms           TEXT NOT NULL,         -- what for, how often, how long: JSON
    key_id          TEXT NOT NULL UNIQUE,  -- in wrapped_keys
    code_key        TEXT NOT NULL,         -- from which key of the devices the wrapped key's outer code comes
    code_key_version INTEGER NOT NULL CHECK (code_key_version > 0),
    certificates    TEXT NOT NULL,         -- PEM, the key's own first; empty before there are any
    state           TEXT NOT NULL CHECK (state IN ('draft', 'active', 'suspended', 'ended')),
    version         INTEGER NOT NULL CHECK (version > 0),  -- grows with every change
    reason          TEXT NOT NULL,         -- of the last change
    actor           TEXT NOT NULL,         -- as the audit log names people and apps
    created_at      INTEGER NOT NULL,
    changed_at      INTEGER NOT NULL,
    revision        INTEGER NOT NULL DEFAULT 0,
    code            BLOB NOT NULL,         -- HMAC-SM3 over the row
    CHECK (state NOT IN ('active', 'suspended') OR certificates <> '')
) STRICT;

CREATE INDEX mandates_by_enterprise ON mandates (enterprise);

CREATE TRIGGER mandates_are_fixed
BEFORE UPDATE OF id, enterprise, name, evidence, apps, terms, key_id, code_key, code_key_version, created_at ON mandates
BEGIN
    SELECT RAISE(ABORT, 'what a mandate grants never changes');
END;

CREATE TRIGGER mandates_certified_once BEFORE UPDATE OF certificates ON mandates
WHEN OLD.certificates <> NEW.certificates AND OLD.state <> 'draft'
BEGIN
    SELECT RAISE(ABORT, 'a mandate keeps the certificate that it was activated with');
END;

CREATE TRIGGER mandates_do_not_come_back BEFORE UPDATE OF state ON mandates
WHEN OLD.state <> NEW.state AND (OLD.state = 'ended' OR NEW.state = 'draft')
BEGIN
    SELECT RAISE(ABORT, 'a mandate that was ended does not come back');
END;

CREATE TRIGGER mandates_no_delete BEFORE DELETE ON mandates
BEGIN
    SELECT RAISE(ABORT, 'a mandate is never forgotten');
END;

-- For finding an app's; the mandate itself says whose it is.
CREATE TABLE mandate_apps (
    app     TEXT NOT NULL,
    mandate TEXT NOT NULL REFERENCES mandates (id),
    PRIMARY KEY (app, mandate)
) STRICT;

-- What became of each mandate, in the transaction that puts it on record; `log` and `idx` say where.
CREATE TABLE mandate_events (
    mandate TEXT NOT NULL REFERENCES mandates (id),
    version INTEGER NOT NULL,
    state   TEXT NOT NULL,
    reason  TEXT NOT NULL,
    actor   TEXT NOT NULL,
    at      INTEGER NOT NULL,
    log     INTEGER NOT NULL,
    idx     INTEGER NOT NULL,
    PRIMARY KEY (mandate, version)
) STRICT;

CREATE TRIGGER mandate_events_no_update BEFORE UPDATE ON mandate_events
BEGIN
    SELECT RAISE(ABORT, 'what became of a mandate does not change');
END;

CREATE TRIGGER mandate_events_no_delete BEFORE DELETE ON mandate_events
BEGIN
    SELECT RAISE(ABORT, 'what became of a mandate is never forgotten');
END;

-- How many signatures were taken of each mandate on each day of the site, counted from 1970-01-01.
CREATE TABLE mandate_uses (
    mandate TEXT NOT NULL REFERENCES mandates (id),
    day     INTEGER NOT NULL,
    taken   INTEGER NOT NULL CHECK (taken >= 0),
    PRIMARY KEY (mandate, day)
) STRICT;

-- Of a stamp in an enterprise's name: the mandate, JSON; its digest is in the entry with the rest.
ALTER TABLE stamps ADD COLUMN mandate TEXT;
