-- What query certificates (打印查询证明) certified: beside each stamp of one the snapshot that it was set from, sealed, and a
-- copy of the audit log's entry, which proves its digest for good. The snapshot itself is taken away when its time is over.
CREATE TABLE query_certificates (
    id       TEXT PRIMARY KEY,            -- its number, which is its stamp's
    app      TEXT NOT NULL,
    uscc     TEXT NOT NULL,
    made_at  INTEGER NOT NULL,            -- Unix seconds
    snapshot BLOB,                        -- sealed; NULL when its time is over
    digest   BLOB NOT NULL CHECK (length(digest) = 32), -- SM3 of the snapshot
    log      INTEGER NOT NULL,
    idx      INTEGER NOT NULL,
    entry    BLOB NOT NULL,               -- of the log at this place, canonical JSON
    UNIQUE (log, idx)
) STRICT;

CREATE INDEX query_certificates_kept ON query_certificates (made_at) WHERE snapshot IS NOT NULL;

CREATE TRIGGER query_certificates_no_update BEFORE UPDATE ON query_certificates
WHEN NEW.snapshot IS NOT NULL OR NEW.id <> OLD.id OR NEW.app <> OLD.app OR NEW.uscc <> OLD.uscc
    OR NEW.made_at <> OLD.made_at OR NEW.digest <> OLD.digest OR NEW.log <> OLD.log OR NEW.idx <> OLD.idx
    OR NEW.entry <> OLD.entry
BEGIN
    SELECT RAISE(ABORT, 'what was certified does not change');
END;

CREATE TRIGGER query_certificates_no_delete BEFORE DELETE ON query_certificates
BEGIN
    SELECT RAISE(ABORT, 'a query certificate is never forgotten');
END;
