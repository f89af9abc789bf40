-- What each device did: a row per minute, later a row per quarter of an hour. Times are Unix seconds.
CREATE TABLE device_history (
    device        TEXT COLLATE "C" NOT NULL,
    span          BIGINT NOT NULL CHECK (span IN (60, 900)),  -- seconds that the row stands for
    start         BIGINT NOT NULL CHECK (start % span = 0),
    state         TEXT NOT NULL CHECK (state IN
        ('starting', 'ready', 'degraded', 'draining', 'maintenance', 'down', 'quarantined')), -- at its end
    seconds_in    TEXT NOT NULL,   -- JSON object, state to seconds
    signed        BIGINT NOT NULL,
    failed        BIGINT NOT NULL,
    errors        TEXT NOT NULL,   -- JSON object, error code to count
    p50_us        BIGINT NOT NULL,
    p90_us        BIGINT NOT NULL,
    p99_us        BIGINT NOT NULL,
    max_us        BIGINT NOT NULL,
    max_load      BIGINT NOT NULL,
    lanes         BIGINT NOT NULL, -- at its end
    worker_starts BIGINT NOT NULL,
    crashes       BIGINT NOT NULL,
    self_test     TEXT,            -- outcome of the last one in the row's time
    PRIMARY KEY (device, span, start)
);

CREATE INDEX device_history_by_age ON device_history (span, start);
