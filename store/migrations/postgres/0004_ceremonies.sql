-- Who may confirm a key ceremony, and the ceremonies. Times are Unix seconds.
CREATE TABLE custodians (
    name        TEXT COLLATE "C" PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 64),
    secret_hash TEXT NOT NULL,     -- Argon2id, PHC string format
    enabled     BOOLEAN NOT NULL,
    created_at  BIGINT NOT NULL
);

CREATE TABLE ceremonies (
    id          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    action      TEXT NOT NULL CHECK (length(action) > 0),
    parameters  TEXT NOT NULL,     -- JSON: what the custodians confirm
    reason      TEXT NOT NULL CHECK (length(reason) > 0),
    begun_by    TEXT NOT NULL,
    begun_at    BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL CHECK (expires_at > begun_at),
    needed      BIGINT NOT NULL CHECK (needed > 0),
    custodians  BIGINT NOT NULL,   -- how many were enabled when it began
    state       TEXT NOT NULL CHECK (state IN ('open', 'confirmed', 'done', 'failed', 'expired')),
    started_at  BIGINT,            -- when somebody began to carry it out; nobody else may then
    finished_at BIGINT,
    result      TEXT,              -- JSON
    CHECK (needed <= custodians)
);

CREATE INDEX ceremonies_by_state ON ceremonies (state, expires_at);

CREATE TABLE ceremony_confirmations (
    ceremony  BIGINT NOT NULL REFERENCES ceremonies (id),
    custodian TEXT COLLATE "C" NOT NULL REFERENCES custodians (name),
    at        BIGINT NOT NULL,
    PRIMARY KEY (ceremony, custodian)
);

CREATE TRIGGER ceremonies_are_fixed
    BEFORE UPDATE OF id, action, parameters, reason, begun_by, begun_at, expires_at, needed, custodians ON ceremonies
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('what custodians confirm does not change');

CREATE TRIGGER ceremonies_no_delete BEFORE DELETE OR TRUNCATE ON ceremonies
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('a ceremony is never deleted');

CREATE TRIGGER ceremony_confirmations_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON ceremony_confirmations
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('a confirmation neither changes nor goes');
