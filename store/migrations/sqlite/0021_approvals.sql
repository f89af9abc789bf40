-- Changes that wait for a second person. Times are Unix seconds.
CREATE TABLE approvals (
    id           TEXT PRIMARY KEY,
    action       TEXT NOT NULL,             -- as the audit log names the act
    subject      TEXT NOT NULL,             -- what it is done to
    content      BLOB NOT NULL,             -- sealed: the act, and how things stood when it was asked for
    reason       TEXT NOT NULL,
    asked_by     TEXT NOT NULL,             -- as the audit log names people and apps
    asked_at     INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    state        TEXT NOT NULL CHECK (state IN
        ('pending', 'approved', 'done', 'failed', 'rejected', 'withdrawn', 'expired')),
    decided_by   TEXT,
    decided_at   INTEGER,
    decision     TEXT,                      -- why it was decided so
    carried_by   TEXT,                      -- the replica that carries it out
    carried_at   INTEGER,                   -- since when
    finished_at  INTEGER,
    outcome      TEXT,                      -- 'ok' or the code of what went wrong
    revision     INTEGER NOT NULL DEFAULT 0,
    code         BLOB,
    CHECK (expires_at > asked_at),
    CHECK ((decided_by IS NULL) = (decided_at IS NULL)),
    CHECK ((carried_by IS NULL) = (carried_at IS NULL))
) STRICT;

CREATE INDEX approvals_by_age ON approvals (asked_at);
CREATE INDEX approvals_open ON approvals (state) WHERE state IN ('pending', 'approved');

CREATE TRIGGER approvals_are_fixed
BEFORE UPDATE OF id, action, subject, reason, asked_by, asked_at, expires_at ON approvals
BEGIN
    SELECT RAISE(ABORT, 'what was asked for is never changed');
END;

CREATE TRIGGER approvals_do_not_go_back BEFORE UPDATE OF state ON approvals
WHEN OLD.state <> NEW.state AND NOT (
    (OLD.state = 'pending' AND NEW.state IN ('approved', 'failed', 'rejected', 'withdrawn', 'expired'))
    OR (OLD.state = 'approved' AND NEW.state IN ('done', 'failed')))
BEGIN
    SELECT RAISE(ABORT, 'an approval does not go back');
END;

CREATE TRIGGER approvals_no_delete BEFORE DELETE ON approvals
BEGIN
    SELECT RAISE(ABORT, 'an approval is never deleted');
END;
