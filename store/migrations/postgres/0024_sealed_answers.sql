-- Answers that may name people are sealed: HTTP's own, not those that are kept with a signature.
ALTER TABLE idempotency_keys ADD COLUMN sealed BOOLEAN NOT NULL DEFAULT FALSE;
