-- Documents that apps stamp many at a time, and what they sent for that.
CREATE TABLE uploads (
    app        TEXT NOT NULL REFERENCES apps (id),
    sm3        TEXT NOT NULL,           -- over its octets, hexadecimal: what it is called
    octets     INTEGER NOT NULL CHECK (octets >= 0),
    blob       TEXT NOT NULL UNIQUE,    -- where it is kept, sealed
    created_at INTEGER NOT NULL,        -- Unix seconds
    expires_at INTEGER NOT NULL,        -- Unix seconds
    PRIMARY KEY (app, sm3)
) STRICT;

CREATE INDEX uploads_by_age ON uploads (expires_at);

CREATE TABLE stamp_jobs (
    id           TEXT PRIMARY KEY,
    app          TEXT NOT NULL REFERENCES apps (id),
    request_id   TEXT NOT NULL,         -- of the order
    defaults     BLOB NOT NULL,         -- sealed for this id and app: what all documents' orders have in common
    total        INTEGER NOT NULL CHECK (total > 0),
    state        TEXT NOT NULL CHECK (state IN ('running', 'finished')),
    served       INTEGER NOT NULL DEFAULT 0, -- apps take turns by it
    created_at   INTEGER NOT NULL,      -- Unix seconds
    cancelled_at INTEGER,               -- Unix seconds
    finished_at  INTEGER,               -- Unix seconds
    CHECK ((finished_at IS NULL) = (state = 'running'))
) STRICT;

CREATE INDEX stamp_jobs_running ON stamp_jobs (app) WHERE state = 'running';
CREATE INDEX stamp_jobs_by_age ON stamp_jobs (finished_at);
CREATE INDEX stamp_jobs_of_apps ON stamp_jobs (app, created_at);

CREATE TABLE stamp_job_documents (
    job           TEXT NOT NULL REFERENCES stamp_jobs (id),
    n             INTEGER NOT NULL CHECK (n > 0),
    body          BLOB NOT NULL,        -- sealed for this place and app: its name, its order and which document it is about
    source        TEXT,                 -- the blob of that document, for whoever removes blobs
    state         TEXT NOT NULL CHECK (state IN ('waiting', 'working', 'stamped', 'failed', 'cancelled')),
    holder        TEXT,                 -- the run of a gateway that is at it
    due_at        INTEGER NOT NULL,     -- Unix milliseconds: when it is tried; while it is worked on, the end of the lease
    attempts      INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    lost          INTEGER NOT NULL DEFAULT 0 CHECK (lost >= 0), -- how often a gateway was lost that was at it
    stamp_id      TEXT,
    result        TEXT,                 -- the blob of what came of it
    result_octets INTEGER,
    result_sm3    BLOB,
    error         TEXT,                 -- the code of why it failed, or is tried again
    detail        BLOB,                 -- sealed: the same for people
    PRIMARY KEY (job, n),
    CHECK ((stamp_id IS NOT NULL) = (state = 'stamped')),
    CHECK ((stamp_id IS NULL) = (result IS NULL))
) STRICT;

CREATE INDEX stamp_job_documents_due ON stamp_job_documents (job, state, n) WHERE state IN ('waiting', 'working');
CREATE INDEX stamp_job_documents_held ON stamp_job_documents (holder) WHERE state = 'working';
CREATE INDEX stamp_job_documents_of_blobs ON stamp_job_documents (source) WHERE state IN ('waiting', 'working');
CREATE UNIQUE INDEX stamp_job_documents_of_stamps ON stamp_job_documents (stamp_id) WHERE stamp_id IS NOT NULL;

CREATE TRIGGER stamp_job_documents_are_fixed BEFORE UPDATE OF job, n, body, source ON stamp_job_documents
BEGIN
    SELECT RAISE(ABORT, 'what is ordered is never changed');
END;

CREATE TRIGGER stamp_job_documents_end_once BEFORE UPDATE ON stamp_job_documents
WHEN OLD.state IN ('stamped', 'failed', 'cancelled')
BEGIN
    SELECT RAISE(ABORT, 'what came of a document is never changed');
END;

CREATE TRIGGER stamp_jobs_are_fixed BEFORE UPDATE OF id, app, request_id, defaults, total, created_at ON stamp_jobs
BEGIN
    SELECT RAISE(ABORT, 'what is ordered is never changed');
END;
