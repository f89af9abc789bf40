-- What each device did: a row per minute, later a row per quarter of an hour. Times are Unix seconds.
CREATE TABLE device_history (
    device        TEXT NOT NULL,
    span          INTEGER NOT NULL CHECK (span IN (60, 900)),  -- seconds that the row stands for
    start         INTEGER NOT NULL CHECK (start % span = 0),
    state         TEXT NOT NULL CHECK (state IN
        ('starting', 'ready', 'degraded', 'draining', 'maintenance', 'down', 'quarantined')), -- at its end
    seconds_in    TEXT NOT NULL,   -- JSON object, state to seconds
    signed        INTEGER NOT NULL,
    failed        INTEGER NOT NULL,
    errors        TEXT NOT NULL,   -- JSON object, error code to count
    p50_us        INTEGER NOT NULL,
    p90_us        INTEGER NOT NULL,
    p99_us        INTEGER NOT NULL,
    max_us        INTEGER NOT NULL,
    max_load      INTEGER NOT NULL,
    lanes         INTEGER NOT NULL, -- at its end
    worker_starts INTEGER NOT NULL,
    crashes       INTEGER NOT NULL,
    self_test     TEXT,            -- outcome of the last one in the row's time
    PRIMARY KEY (device, span, start)
) STRICT;

CREATE INDEX device_history_by_age ON device_history (span, start);
