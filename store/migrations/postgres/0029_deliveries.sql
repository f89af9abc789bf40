-- The same as for SQLite.
CREATE TABLE webhooks (
    app      TEXT COLLATE "C" PRIMARY KEY REFERENCES apps (id),
    id       TEXT COLLATE "C" NOT NULL UNIQUE, -- of this registration; another address or secret is another one
    url      TEXT NOT NULL,
    secret   BYTEA NOT NULL,            -- sealed: of HMAC-SHA256
    set_at   BIGINT NOT NULL,           -- Unix seconds
    revision BIGINT NOT NULL DEFAULT 0,
    code     BYTEA                      -- HMAC-SM3 over the row
);

CREATE TABLE deliveries (
    id         TEXT COLLATE "C" PRIMARY KEY, -- goes out as webhook-id
    app        TEXT COLLATE "C" NOT NULL REFERENCES apps (id),
    kind       TEXT NOT NULL,           -- such as 'app.alarm'
    body       BYTEA NOT NULL,          -- sealed for this id and app: nobody with the database alone sends anything
    state      TEXT NOT NULL CHECK (state IN ('waiting', 'delivered', 'dead')),
    attempts   BIGINT NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    created_at BIGINT NOT NULL,         -- Unix seconds
    since      BIGINT NOT NULL,         -- Unix seconds: since when it is tried
    due_at     BIGINT NOT NULL,         -- Unix milliseconds: the next attempt; while one is under way, the end of its lease
    holder     TEXT,                    -- the run of a gateway that is at it
    ended_at   BIGINT,                  -- Unix seconds
    error      TEXT,                    -- the code of why the last attempt failed
    status     BIGINT,                  -- the HTTP status of the last answer
    CHECK ((ended_at IS NULL) = (state = 'waiting'))
);

CREATE INDEX deliveries_due ON deliveries (due_at) WHERE state = 'waiting';
CREATE INDEX deliveries_of_apps ON deliveries (app, state);
CREATE INDEX deliveries_by_age ON deliveries (created_at);

CREATE TRIGGER deliveries_are_fixed BEFORE UPDATE OF id, app, kind, body, created_at ON deliveries
    FOR EACH ROW EXECUTE FUNCTION refuse('what is delivered is never changed');
