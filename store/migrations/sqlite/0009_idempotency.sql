-- Requests that were sent with an Idempotency-Key, and what was answered. Times are Unix seconds.
CREATE TABLE idempotency_keys (
    actor        TEXT NOT NULL,
    route        TEXT NOT NULL,    -- method and pattern of the path
    key          TEXT NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    fingerprint  BLOB NOT NULL CHECK (length(fingerprint) = 32), -- SM3 over target and body
    state        TEXT NOT NULL CHECK (state IN ('running', 'answered')),
    instance     TEXT NOT NULL,    -- the run of a gateway that carries it out
    leased_until INTEGER NOT NULL, -- while it runs: when it counts as abandoned
    holder       TEXT NOT NULL,    -- the claim that holds the key or answered
    request_id   TEXT NOT NULL,    -- of the request that is or was carried out
    expires_at   INTEGER NOT NULL,
    status       INTEGER,
    headers      TEXT,             -- JSON, those of the answer that are kept
    answer       BLOB,
    PRIMARY KEY (actor, route, key),
    CHECK ((state = 'answered') = (status IS NOT NULL AND headers IS NOT NULL AND answer IS NOT NULL))
) STRICT;

CREATE INDEX idempotency_keys_by_age ON idempotency_keys (expires_at);
