-- What documents were stamped with. A row comes in the transaction that puts the stamp on record, and stays as it is.
CREATE TABLE stamps (
    id            TEXT COLLATE "C" PRIMARY KEY,
    check_code    TEXT COLLATE "C" NOT NULL UNIQUE,  -- whoever has it may see what the check page shows
    format        TEXT NOT NULL CHECK (format IN ('pdf')),
    app           TEXT COLLATE "C" NOT NULL,
    key           TEXT COLLATE "C" NOT NULL,         -- as callers name it
    stamped_at    BIGINT NOT NULL,                   -- Unix seconds
    certificate   BYTEA NOT NULL,                    -- of the signer, DER
    field         TEXT NOT NULL,                     -- the signature's field in the document
    input_digest  BYTEA NOT NULL CHECK (length(input_digest) = 32),  -- SM3 of the document before
    result_digest BYTEA NOT NULL CHECK (length(result_digest) = 32), -- SM3 of the stamped document
    octets        BIGINT NOT NULL CHECK (octets > 0),                -- of the stamped document
    log           BIGINT NOT NULL,
    idx           BIGINT NOT NULL,
    UNIQUE (log, idx)
);

CREATE TRIGGER stamps_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON stamps
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('a stamp does not change and is never forgotten');
