-- The same as for SQLite.
CREATE TABLE uploads (
    app        TEXT COLLATE "C" NOT NULL REFERENCES apps (id),
    sm3        TEXT COLLATE "C" NOT NULL,           -- over its octets, hexadecimal: what it is called
    octets     BIGINT NOT NULL CHECK (octets >= 0),
    blob       TEXT NOT NULL UNIQUE,    -- where it is kept, sealed
    created_at BIGINT NOT NULL,        -- Unix seconds
    expires_at BIGINT NOT NULL,        -- Unix seconds
    PRIMARY KEY (app, sm3)
);

CREATE INDEX uploads_by_age ON uploads (expires_at);

CREATE TABLE stamp_jobs (
    id           TEXT COLLATE "C" PRIMARY KEY,
    app          TEXT COLLATE "C" NOT NULL REFERENCES apps (id),
    request_id   TEXT NOT NULL,         -- of the order
    defaults     BYTEA NOT NULL,         -- sealed for this id and app: what all documents' orders have in common
    total        BIGINT NOT NULL CHECK (total > 0),
    state        TEXT NOT NULL CHECK (state IN ('running', 'finished')),
    served       BIGINT NOT NULL DEFAULT 0, -- apps take turns by it
    created_at   BIGINT NOT NULL,      -- Unix seconds
    cancelled_at BIGINT,               -- Unix seconds
    finished_at  BIGINT,               -- Unix seconds
    CHECK ((finished_at IS NULL) = (state = 'running'))
);

CREATE INDEX stamp_jobs_running ON stamp_jobs (app) WHERE state = 'running';
CREATE INDEX stamp_jobs_by_age ON stamp_jobs (finished_at);
CREATE INDEX stamp_jobs_of_apps ON stamp_jobs (app, created_at);

CREATE TABLE stamp_job_documents (
    job           TEXT COLLATE "C" NOT NULL REFERENCES stamp_jobs (id),
    n             BIGINT NOT NULL CHECK (n > 0),
    body          BYTEA NOT NULL,        -- sealed for this place and app: its name, its order and which document it is about
    source        TEXT,                 -- the blob of that document, for whoever removes blobs
    state         TEXT NOT NULL CHECK (state IN ('waiting', 'working', 'stamped', 'failed', 'cancelled')),
    holder        TEXT,                 -- the run of a gateway that is at it
    due_at        BIGINT NOT NULL,     -- Unix milliseconds: when it is tried; while it is worked on, the end of the lease
    attempts      BIGINT NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    lost          BIGINT NOT NULL DEFAULT 0 CHECK (lost >= 0), -- how often a gateway was lost that was at it
    stamp_id      TEXT COLLATE "C",
    result        TEXT,                 -- the blob of what came of it
    result_octets BIGINT,
    result_sm3    BYTEA,
    error         TEXT,                 -- the code of why it failed, or is tried again
    detail        BYTEA,                 -- sealed: the same for people
    PRIMARY KEY (job, n),
    CHECK ((stamp_id IS NOT NULL) = (state = 'stamped')),
    CHECK ((stamp_id IS NULL) = (result IS NULL))
);

CREATE INDEX stamp_job_documents_due ON stamp_job_documents (job, state, n) WHERE state IN ('waiting', 'working');
CREATE INDEX stamp_job_documents_held ON stamp_job_documents (holder) WHERE state = 'working';
CREATE INDEX stamp_job_documents_of_blobs ON stamp_job_documents (source) WHERE state IN ('waiting', 'working');
CREATE UNIQUE INDEX stamp_job_documents_of_stamps ON stamp_job_documents (stamp_id) WHERE stamp_id IS NOT NULL;

CREATE TRIGGER stamp_job_documents_are_fixed BEFORE UPDATE OF job, n, body, source ON stamp_job_documents
    FOR EACH ROW EXECUTE FUNCTION refuse('what is ordered is never changed');

CREATE TRIGGER stamp_job_documents_end_once BEFORE UPDATE ON stamp_job_documents
    FOR EACH ROW WHEN (OLD.state IN ('stamped', 'failed', 'cancelled'))
    EXECUTE FUNCTION refuse('what came of a document is never changed');

CREATE TRIGGER stamp_jobs_are_fixed BEFORE UPDATE OF id, app, request_id, defaults, total, created_at ON stamp_jobs
    FOR EACH ROW EXECUTE FUNCTION refuse('what is ordered is never changed');
