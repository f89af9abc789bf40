-- What documents were stamped with. A row comes in the transaction that puts the stamp on record, and stays as it is.
CREATE TABLE stamps (
    id            TEXT PRIMARY KEY,
    check_code    TEXT NOT NULL UNIQUE,  -- whoever has it may see what the check page shows
    format        TEXT NOT NULL CHECK (format IN ('pdf')),
    app           TEXT NOT NULL,
    key           TEXT NOT NULL,         -- as callers name it
    stamped_at    INTEGER NOT NULL,      -- Unix seconds
    certificate   BLOB NOT NULL,         -- of the signer, DER
    field         TEXT NOT NULL,         -- the signature's field in the document
    input_digest  BLOB NOT NULL CHECK (length(input_digest) = 32),  -- SM3 of the document before
    result_digest BLOB NOT NULL CHECK (length(result_digest) = 32), -- SM3 of the stamped document
    octets        INTEGER NOT NULL CHECK (octets > 0),              -- of the stamped document
    log           INTEGER NOT NULL,
    idx           INTEGER NOT NULL,
    UNIQUE (log, idx)
) STRICT;

CREATE TRIGGER stamps_no_update BEFORE UPDATE ON stamps
BEGIN
    SELECT RAISE(ABORT, 'a stamp does not change');
END;

CREATE TRIGGER stamps_no_delete BEFORE DELETE ON stamps
BEGIN
    SELECT RAISE(ABORT, 'a stamp is never forgotten');
END;
