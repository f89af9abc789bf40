-- What apps may sign. A version is never changed or removed: the app's row says which one is in force.
ALTER TABLE apps ADD COLUMN policy INTEGER;

CREATE TABLE signing_policies (
    app      TEXT NOT NULL REFERENCES apps (id),
    version  INTEGER NOT NULL CHECK (version > 0),
    rules    TEXT NOT NULL,             -- a JSON array
    reason   TEXT NOT NULL,
    actor    TEXT NOT NULL,             -- as the audit log names people and apps
    at       INTEGER NOT NULL,          -- Unix seconds
    revision INTEGER NOT NULL DEFAULT 0,
    code     BLOB,                      -- HMAC-SM3 over the row; NULL only where there is no data key yet
    PRIMARY KEY (app, version)
) STRICT;

CREATE TRIGGER signing_policies_are_fixed BEFORE UPDATE OF app, version, rules, reason, actor, at ON signing_policies
BEGIN
    SELECT RAISE(ABORT, 'a version of a policy is never changed');
END;

CREATE TRIGGER signing_policies_no_delete BEFORE DELETE ON signing_policies
BEGIN
    SELECT RAISE(ABORT, 'a version of a policy is never deleted');
END;

-- How many signatures gateways have taken for a rule on a day of the site's time.
CREATE TABLE policy_counts (
    app   TEXT NOT NULL,
    rule  TEXT NOT NULL,
    day   INTEGER NOT NULL,             -- days since 1970-01-01
    taken INTEGER NOT NULL CHECK (taken >= 0),
    PRIMARY KEY (app, rule, day)
) STRICT, WITHOUT ROWID;
