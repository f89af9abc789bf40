-- A stamp has its entry of the audit log beside it, octet by octet: the log keeps the entry's hash for good, so that a row
-- is proved by it also when the entry's own time is over. Stamps have a level, and there are those of digests.
CREATE TABLE vouched_stamps (
    id            TEXT PRIMARY KEY,
    check_code    TEXT NOT NULL UNIQUE,  -- whoever has it may see what the check page shows
    format        TEXT NOT NULL CHECK (format IN ('digest', 'pdf')),
    level         TEXT NOT NULL CHECK (level IN ('B-B', 'B-T', 'B-LT', 'B-LTA')),
    app           TEXT NOT NULL,
    key           TEXT NOT NULL,         -- as callers name it
    stamped_at    INTEGER NOT NULL,      -- Unix seconds
    certificate   BLOB NOT NULL,         -- of the signer, DER
    field         TEXT NOT NULL,         -- the signature's field in the document; empty where there is none
    input_digest  BLOB NOT NULL CHECK (length(input_digest) = 32),  -- SM3 of the document before, or the digest
    result_digest BLOB NOT NULL CHECK (length(result_digest) = 32), -- SM3 of the stamped document, or of the CMS
    octets        INTEGER NOT NULL CHECK (octets > 0),              -- of what result_digest is over
    log           INTEGER NOT NULL,
    idx           INTEGER NOT NULL,
    entry         BLOB NOT NULL,         -- of the log at this place, canonical JSON
    UNIQUE (log, idx)
) STRICT;

INSERT INTO vouched_stamps
SELECT s.id, s.check_code, s.format, 'B-B', s.app, s.key, s.stamped_at, s.certificate, s.field, s.input_digest,
       s.result_digest, s.octets, s.log, s.idx, coalesce(e.entry, x'')
FROM stamps s LEFT JOIN audit_entries e ON e.log = s.log AND e.idx = s.idx;

DROP TABLE stamps;
ALTER TABLE vouched_stamps RENAME TO stamps;

CREATE TRIGGER stamps_no_update BEFORE UPDATE ON stamps
BEGIN
    SELECT RAISE(ABORT, 'a stamp does not change');
END;

CREATE TRIGGER stamps_no_delete BEFORE DELETE ON stamps
BEGIN
    SELECT RAISE(ABORT, 'a stamp is never forgotten');
END;
