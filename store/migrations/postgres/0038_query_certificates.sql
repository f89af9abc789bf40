-- What query certificates (打印查询证明) certified: beside each stamp of one the snapshot that it was set from, sealed, and a
-- copy of the audit log's entry, which proves its digest for good. The snapshot itself is taken away when its time is over.
CREATE TABLE query_certificates (
    id       TEXT COLLATE "C" PRIMARY KEY, -- its number, which is its stamp's
    app      TEXT COLLATE "C" NOT NULL,
    uscc     TEXT COLLATE "C" NOT NULL,
    made_at  BIGINT NOT NULL,              -- Unix seconds
    snapshot BYTEA,                        -- sealed; NULL when its time is over
    digest   BYTEA NOT NULL CHECK (length(digest) = 32), -- SM3 of the snapshot
    log      BIGINT NOT NULL,
    idx      BIGINT NOT NULL,
    entry    BYTEA NOT NULL,               -- of the log at this place, canonical JSON
    UNIQUE (log, idx)
);

CREATE INDEX query_certificates_kept ON query_certificates (made_at) WHERE snapshot IS NOT NULL;

CREATE TRIGGER query_certificates_no_update BEFORE UPDATE ON query_certificates
    FOR EACH ROW WHEN (
        NEW.snapshot IS NOT NULL
        OR (NEW.id, NEW.app, NEW.uscc, NEW.made_at, NEW.digest, NEW.log, NEW.idx, NEW.entry)
            IS DISTINCT FROM (OLD.id, OLD.app, OLD.uscc, OLD.made_at, OLD.digest, OLD.log, OLD.idx, OLD.entry)
    )
    EXECUTE FUNCTION refuse('what was certified does not change');

CREATE TRIGGER query_certificates_no_delete BEFORE DELETE OR TRUNCATE ON query_certificates
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('a query certificate is never forgotten');
