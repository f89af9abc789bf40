-- The same as for SQLite.
ALTER TABLE apps ADD COLUMN policy BIGINT;

CREATE TABLE signing_policies (
    app      TEXT COLLATE "C" NOT NULL REFERENCES apps (id),
    version  BIGINT NOT NULL CHECK (version > 0),
    rules    TEXT NOT NULL,             -- a JSON array
    reason   TEXT NOT NULL,
    actor    TEXT NOT NULL,             -- as the audit log names people and apps
    at       BIGINT NOT NULL,           -- Unix seconds
    revision BIGINT NOT NULL DEFAULT 0,
    code     BYTEA,                     -- HMAC-SM3 over the row; NULL only where there is no data key yet
    PRIMARY KEY (app, version)
);

CREATE TRIGGER signing_policies_are_fixed BEFORE UPDATE OF app, version, rules, reason, actor, at ON signing_policies
    FOR EACH ROW EXECUTE FUNCTION refuse('a version of a policy is never changed');

CREATE TRIGGER signing_policies_no_delete BEFORE DELETE OR TRUNCATE ON signing_policies
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('a version of a policy is never deleted');

-- How many signatures gateways have taken for a rule on a day of the site's time.
CREATE TABLE policy_counts (
    app   TEXT COLLATE "C" NOT NULL,
    rule  TEXT COLLATE "C" NOT NULL,
    day   BIGINT NOT NULL,              -- days since 1970-01-01
    taken BIGINT NOT NULL CHECK (taken >= 0),
    PRIMARY KEY (app, rule, day)
);
