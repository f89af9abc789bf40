-- Where an app is told what concerns it, and what is on its way there.
CREATE TABLE webhooks (
    app      TEXT PRIMARY KEY REFERENCES apps (id),
    id       TEXT NOT NULL UNIQUE,      -- of this registration; another address or secret is another one
    url      TEXT NOT NULL,
    secret   BLOB NOT NULL,             -- sealed: of HMAC-SHA256
    set_at   INTEGER NOT NULL,          -- Unix seconds
    revision INTEGER NOT NULL DEFAULT 0,
    code     BLOB                       -- HMAC-SM3 over the row
) STRICT;

CREATE TABLE deliveries (
    id         TEXT PRIMARY KEY,        -- goes out as webhook-id
    app        TEXT NOT NULL REFERENCES apps (id),
    kind       TEXT NOT NULL,           -- such as 'app.alarm'
    body       BLOB NOT NULL,           -- sealed for this id and app: nobody with the database alone sends anything
    state      TEXT NOT NULL CHECK (state IN ('waiting', 'delivered', 'dead')),
    attempts   INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    created_at INTEGER NOT NULL,        -- Unix seconds
    since      INTEGER NOT NULL,        -- Unix seconds: since when it is tried
    due_at     INTEGER NOT NULL,        -- Unix milliseconds: the next attempt; while one is under way, the end of its lease
    holder     TEXT,                    -- the run of a gateway that is at it
    ended_at   INTEGER,                 -- Unix seconds
    error      TEXT,                    -- the code of why the last attempt failed
    status     INTEGER,                 -- the HTTP status of the last answer
    CHECK ((ended_at IS NULL) = (state = 'waiting'))
) STRICT;

CREATE INDEX deliveries_due ON deliveries (due_at) WHERE state = 'waiting';
CREATE INDEX deliveries_of_apps ON deliveries (app, state);
CREATE INDEX deliveries_by_age ON deliveries (created_at);

CREATE TRIGGER deliveries_are_fixed BEFORE UPDATE OF id, app, kind, body, created_at ON deliveries
BEGIN
    SELECT RAISE(ABORT, 'what is delivered is never changed');
END;
