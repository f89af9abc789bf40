-- The same as for SQLite.
CREATE TABLE approvals (
    id           TEXT COLLATE "C" PRIMARY KEY,
    action       TEXT NOT NULL,             -- as the audit log names the act
    subject      TEXT NOT NULL,             -- what it is done to
    content      BYTEA NOT NULL,            -- sealed: the act, and how things stood when it was asked for
    reason       TEXT NOT NULL,
    asked_by     TEXT NOT NULL,             -- as the audit log names people and apps
    asked_at     BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    state        TEXT NOT NULL CHECK (state IN
        ('pending', 'approved', 'done', 'failed', 'rejected', 'withdrawn', 'expired')),
    decided_by   TEXT,
    decided_at   BIGINT,
    decision     TEXT,                      -- why it was decided so
    carried_by   TEXT,                      -- the replica that carries it out
    carried_at   BIGINT,                    -- since when
    finished_at  BIGINT,
    outcome      TEXT,                      -- 'ok' or the code of what went wrong
    revision     BIGINT NOT NULL DEFAULT 0,
    code         BYTEA,
    CHECK (expires_at > asked_at),
    CHECK ((decided_by IS NULL) = (decided_at IS NULL)),
    CHECK ((carried_by IS NULL) = (carried_at IS NULL))
);

CREATE INDEX approvals_by_age ON approvals (asked_at);
CREATE INDEX approvals_open ON approvals (state) WHERE state IN ('pending', 'approved');

CREATE TRIGGER approvals_are_fixed
    BEFORE UPDATE OF id, action, subject, reason, asked_by, asked_at, expires_at ON approvals
    FOR EACH ROW EXECUTE FUNCTION refuse('what was asked for is never changed');

CREATE TRIGGER approvals_do_not_go_back BEFORE UPDATE OF state ON approvals
    FOR EACH ROW WHEN (OLD.state <> NEW.state AND NOT (
        (OLD.state = 'pending' AND NEW.state IN ('approved', 'failed', 'rejected', 'withdrawn', 'expired'))
        OR (OLD.state = 'approved' AND NEW.state IN ('done', 'failed'))))
    EXECUTE FUNCTION refuse('an approval does not go back');

CREATE TRIGGER approvals_no_delete BEFORE DELETE OR TRUNCATE ON approvals
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('an approval is never deleted');
