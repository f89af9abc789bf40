-- Licenses as they were shown (执照留档): for each a record, sealed, and a copy of the audit log's entry, which proves the
-- record's digest for good. The record has the digests of the file, which lies sealed beside the database. Record and file
-- are taken away when their time is over; what there was stays.
CREATE TABLE retentions (
    id         TEXT COLLATE "C" PRIMARY KEY, -- its number
    app        TEXT COLLATE "C" NOT NULL,    -- whose it is
    biz        BYTEA NOT NULL,               -- what it is found by: HMAC-SM3 of the app and its number for the business
    uscc       TEXT COLLATE "C",             -- of the license, where it can be read
    made_at    BIGINT NOT NULL,              -- Unix seconds
    keep_until BIGINT NOT NULL,              -- Unix seconds
    record     BYTEA,                        -- sealed; NULL when its time is over
    digest     BYTEA NOT NULL CHECK (length(digest) = 32), -- SM3 of the record
    file       TEXT COLLATE "C" NOT NULL,    -- SM3 of the file, hexadecimal
    log        BIGINT NOT NULL,
    idx        BIGINT NOT NULL,
    entry      BYTEA NOT NULL,               -- of the log at this place, canonical JSON
    UNIQUE (log, idx)
);

CREATE INDEX retentions_by_time ON retentions (made_at, id);
CREATE INDEX retentions_of_app ON retentions (app, made_at, id);
CREATE INDEX retentions_of_business ON retentions (biz, made_at, id);
CREATE INDEX retentions_of_entity ON retentions (app, uscc, made_at, id);
CREATE INDEX retentions_kept ON retentions (keep_until) WHERE record IS NOT NULL;
CREATE INDEX retentions_of_file ON retentions (app, file) WHERE record IS NOT NULL;

CREATE TRIGGER retentions_no_update BEFORE UPDATE ON retentions
    FOR EACH ROW WHEN (
        NEW.record IS NOT NULL
        OR (NEW.id, NEW.app, NEW.biz, NEW.uscc, NEW.made_at, NEW.keep_until, NEW.digest, NEW.file, NEW.log, NEW.idx,
            NEW.entry)
            IS DISTINCT FROM (OLD.id, OLD.app, OLD.biz, OLD.uscc, OLD.made_at, OLD.keep_until, OLD.digest, OLD.file,
            OLD.log, OLD.idx, OLD.entry)
    )
    EXECUTE FUNCTION refuse('what was retained does not change');

CREATE TRIGGER retentions_no_delete BEFORE DELETE OR TRUNCATE ON retentions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('a retention is never forgotten');

-- Files are called by what they are, each app's for itself: one that several retentions of an app have is there once.
CREATE TABLE retained_files (
    app    TEXT COLLATE "C" NOT NULL,
    sm3    TEXT COLLATE "C" NOT NULL,     -- hexadecimal
    octets BIGINT NOT NULL CHECK (octets >= 0),
    blob   TEXT COLLATE "C" NOT NULL,     -- its name among the blobs
    PRIMARY KEY (app, sm3)
);

CREATE INDEX retained_files_blob ON retained_files (blob);

-- What a license was judged by, which lies by its digest beside the evidence of stamps.
CREATE TABLE retention_items (
    retention TEXT COLLATE "C" NOT NULL REFERENCES retentions (id),
    digest    TEXT COLLATE "C" NOT NULL,  -- SM3, hexadecimal
    PRIMARY KEY (retention, digest)
);

CREATE INDEX retention_items_digest ON retention_items (digest);
