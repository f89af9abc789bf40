-- OFD packages are stamped, too.
CREATE TABLE wider_stamps (
    id            TEXT PRIMARY KEY,
    check_code    TEXT NOT NULL UNIQUE,  -- whoever has it may see what the check page shows
    format        TEXT NOT NULL CHECK (format IN ('digest', 'ofd', 'pdf')),
    level         TEXT NOT NULL CHECK (level IN ('B-B', 'B-T', 'B-LT', 'B-LTA')),
    app           TEXT NOT NULL,
    key           TEXT NOT NULL,         -- as callers name it
    stamped_at    INTEGER NOT NULL,      -- Unix seconds
    certificate   BLOB NOT NULL,         -- of the signer, DER
    field         TEXT NOT NULL,         -- the signature's field or part in the document; empty where there is none
    input_digest  BLOB NOT NULL CHECK (length(input_digest) = 32),  -- SM3 of the document before, or the digest
    result_digest BLOB NOT NULL CHECK (length(result_digest) = 32), -- SM3 of the stamped document, or of the CMS
    octets        INTEGER NOT NULL CHECK (octets > 0),              -- of what result_digest is over
    log           INTEGER NOT NULL,
    idx           INTEGER NOT NULL,
    entry         BLOB NOT NULL,         -- of the log at this place, canonical JSON
    UNIQUE (log, idx)
) STRICT;

INSERT INTO wider_stamps
SELECT id, check_code, format, level, app, key, stamped_at, certificate, field, input_digest, result_digest, octets, log, idx,
       entry
FROM stamps;

DROP TABLE stamps;
ALTER TABLE wider_stamps RENAME TO stamps;

CREATE TRIGGER stamps_no_update BEFORE UPDATE ON stamps
BEGIN
    SELECT RAISE(ABORT, 'a stamp does not change');
END;

CREATE TRIGGER stamps_no_delete BEFORE DELETE ON stamps
BEGIN
    SELECT RAISE(ABORT, 'a stamp is never forgotten');
END;
