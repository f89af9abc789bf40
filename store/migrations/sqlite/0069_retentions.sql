-- Licenses as they were shown (执照留档): for each a record, sealed, and a copy of the audit log's entry, which proves the
-- record's digest for good. The record has the digests of the file, which lies sealed beside the database. Record and file
-- are taken away when their time is over; what there was stays.
CREATE TABLE retentions (
    id         TEXT PRIMARY KEY,          -- its number
    app        TEXT NOT NULL,             -- whose it is
    biz        BLOB NOT NULL,             -- what it is found by: HMAC-SM3 of the app and its number for the business
    uscc       TEXT,                      -- of the license, where it can be read
    made_at    INTEGER NOT NULL,          -- Unix seconds
    keep_until INTEGER NOT NULL,          -- Unix seconds
    record     BLOB,                      -- sealed; NULL when its time is over
    digest     BLOB NOT NULL CHECK (length(digest) = 32), -- SM3 of the record
    file       TEXT NOT NULL,             -- SM3 of the file, hexadecimal
    log        INTEGER NOT NULL,
    idx        INTEGER NOT NULL,
    entry      BLOB NOT NULL,             -- of the log at this place, canonical JSON
    UNIQUE (log, idx)
) STRICT;

CREATE INDEX retentions_by_time ON retentions (made_at, id);
CREATE INDEX retentions_of_app ON retentions (app, made_at, id);
CREATE INDEX retentions_of_business ON retentions (biz, made_at, id);
CREATE INDEX retentions_of_entity ON retentions (app, uscc, made_at, id);
CREATE INDEX retentions_kept ON retentions (keep_until) WHERE record IS NOT NULL;
CREATE INDEX retentions_of_file ON retentions (app, file) WHERE record IS NOT NULL;

CREATE TRIGGER retentions_no_update BEFORE UPDATE ON retentions
WHEN NEW.record IS NOT NULL OR NEW.id <> OLD.id OR NEW.app <> OLD.app OR NEW.biz <> OLD.biz OR NEW.uscc IS NOT OLD.uscc
    OR NEW.made_at <> OLD.made_at OR NEW.keep_until <> OLD.keep_until OR NEW.digest <> OLD.digest
    OR NEW.file <> OLD.file OR NEW.log <> OLD.log OR NEW.idx <> OLD.idx OR NEW.entry <> OLD.entry
BEGIN
    SELECT RAISE(ABORT, 'what was retained does not change');
END;

CREATE TRIGGER retentions_no_delete BEFORE DELETE ON retentions
BEGIN
    SELECT RAISE(ABORT, 'a retention is never forgotten');
END;

-- Files are called by what they are, each app's for itself: one that several retentions of an app have is there once.
CREATE TABLE retained_files (
    app    TEXT NOT NULL,
    sm3    TEXT NOT NULL,                 -- hexadecimal
    octets INTEGER NOT NULL CHECK (octets >= 0),
    blob   TEXT NOT NULL,                 -- its name among the blobs
    PRIMARY KEY (app, sm3)
) STRICT;

CREATE INDEX retained_files_blob ON retained_files (blob);

-- What a license was judged by, which lies by its digest beside the evidence of stamps.
CREATE TABLE retention_items (
    retention TEXT NOT NULL REFERENCES retentions (id),
    digest    TEXT NOT NULL,              -- SM3, hexadecimal
    PRIMARY KEY (retention, digest)
) STRICT;

CREATE INDEX retention_items_digest ON retention_items (digest);
