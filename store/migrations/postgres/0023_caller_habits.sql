-- What callers usually do, as far as gateways have learnt it. Times are Unix seconds.
CREATE TABLE caller_habits (
    actor      TEXT PRIMARY KEY CHECK (length(actor) BETWEEN 1 AND 200), -- as the audit log names it
    habits     TEXT NOT NULL,     -- JSON of the gateway's
    changed_at BIGINT NOT NULL
);

CREATE INDEX caller_habits_by_age ON caller_habits (changed_at);
