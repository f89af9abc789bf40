-- A stamp has its entry of the audit log beside it, octet by octet: the log keeps the entry's hash for good, so that a row
-- is proved by it also when the entry's own time is over. Stamps have a level, and there are those of digests.
ALTER TABLE stamps DISABLE TRIGGER stamps_no_change;
ALTER TABLE stamps
    ADD COLUMN level TEXT NOT NULL DEFAULT 'B-B' CHECK (level IN ('B-B', 'B-T', 'B-LT', 'B-LTA')),
    ADD COLUMN entry BYTEA NOT NULL DEFAULT '',  -- of the log at this place, canonical JSON
    DROP CONSTRAINT stamps_format_check,
    ADD CONSTRAINT stamps_format_check CHECK (format IN ('digest', 'pdf'));
UPDATE stamps s SET entry = e.entry FROM audit_entries e WHERE e.log = s.log AND e.idx = s.idx;
ALTER TABLE stamps ALTER COLUMN level DROP DEFAULT, ALTER COLUMN entry DROP DEFAULT;
ALTER TABLE stamps ENABLE TRIGGER stamps_no_change;
