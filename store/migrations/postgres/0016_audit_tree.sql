-- The audit log gets a tree of tiles, signed checkpoints and an archive; each gateway on the database has a log of its
-- own. Times are Unix seconds.
CREATE TABLE audit_logs (
    id         BIGINT PRIMARY KEY CHECK (id > 0),
    replica    TEXT COLLATE "C" NOT NULL UNIQUE CHECK (length(replica) BETWEEN 1 AND 64), -- the gateway that writes it
    origin     TEXT COLLATE "C" NOT NULL UNIQUE,  -- what checkpoints call it; never given twice
    created_at BIGINT NOT NULL
);

CREATE TRIGGER audit_logs_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_logs
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('a log keeps its name and is never deleted');

-- What there is so far is the first log's. When it was written was not kept: an entry's own time stands for it.
ALTER TABLE audit_entries RENAME TO audit_entries_so_far;
ALTER INDEX audit_entries_pkey RENAME TO audit_entries_so_far_pkey;
CREATE TABLE audit_entries (
    log        BIGINT NOT NULL,
    idx        BIGINT NOT NULL CHECK (idx >= 0),
    written_at BIGINT NOT NULL,       -- never goes back within a log
    entry      BYTEA NOT NULL,        -- canonical JSON
    leaf_hash  BYTEA NOT NULL CHECK (length(leaf_hash) = 32), -- SM3(0x00 || entry)
    PRIMARY KEY (log, idx)
);
INSERT INTO audit_entries (log, idx, written_at, entry, leaf_hash)
    SELECT 1, idx,
        max(floor(extract(epoch FROM (convert_from(entry, 'UTF8')::jsonb ->> 'at')::timestamptz))::bigint)
            OVER (ORDER BY idx),
        entry, leaf_hash
    FROM audit_entries_so_far ORDER BY idx;
DROP TABLE audit_entries_so_far;
DROP FUNCTION audit_entries_are_dense;

-- Parts of a log that were moved into the archive, in order and without a gap. Their hashes stay in audit_tiles.
CREATE TABLE audit_segments (
    log         BIGINT NOT NULL,
    start       BIGINT NOT NULL CHECK (start >= 0 AND start % 256 = 0),
    until       BIGINT NOT NULL CHECK (until > start AND until % 256 = 0), -- the first entry after it
    name        TEXT NOT NULL,        -- of the file in the archive
    digest      BYTEA NOT NULL CHECK (length(digest) = 32), -- SM3 of the file
    written_at  BIGINT NOT NULL,      -- of its last entry
    archived_at BIGINT NOT NULL,
    removed_at  BIGINT,               -- when its time was over and the file was removed
    PRIMARY KEY (log, start)
);

CREATE FUNCTION audit_segments_rules() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.start <> (SELECT coalesce(max(until), 0) FROM audit_segments WHERE log = NEW.log) THEN
            RAISE EXCEPTION USING MESSAGE = 'the archive grows by the next entry only',
                ERRCODE = 'integrity_constraint_violation';
        END IF;
    ELSIF OLD.removed_at IS NOT NULL
        OR (NEW.log, NEW.start, NEW.until, NEW.name, NEW.digest, NEW.written_at, NEW.archived_at)
        <> (OLD.log, OLD.start, OLD.until, OLD.name, OLD.digest, OLD.written_at, OLD.archived_at) THEN
        RAISE EXCEPTION USING MESSAGE = 'what was archived does not change',
            ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER audit_segments_rules BEFORE INSERT OR UPDATE ON audit_segments
    FOR EACH ROW EXECUTE FUNCTION audit_segments_rules();
CREATE TRIGGER audit_segments_no_delete BEFORE DELETE OR TRUNCATE ON audit_segments
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('what was archived is never forgotten');

-- Once per statement, not per row: an insert of many rows, all of one log, is judged as a whole.
CREATE FUNCTION audit_entries_are_dense() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    first BIGINT;
    last BIGINT;
    rows BIGINT;
    whose BIGINT;
    others BIGINT;
BEGIN
    SELECT min(idx), max(idx), count(*), min(log), max(log) INTO first, last, rows, whose, others FROM added;
    IF rows > 0 AND (whose <> others OR last - first + 1 <> rows
        OR first <> (SELECT coalesce(max(idx), -1) + 1 FROM audit_entries WHERE log = whose AND idx < first)
        OR EXISTS (SELECT 1 FROM audit_entries WHERE log = whose AND idx > last)) THEN
        RAISE EXCEPTION USING MESSAGE = 'audit_entries grows by the next index only',
            ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION audit_entries_leave_for_the_archive_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM gone
        WHERE idx >= (SELECT coalesce(max(until), 0) FROM audit_segments WHERE audit_segments.log = gone.log)
        OR NOT EXISTS (SELECT 1 FROM audit_entries WHERE audit_entries.log = gone.log AND audit_entries.idx > gone.idx))
    THEN
        RAISE EXCEPTION USING MESSAGE = 'audit_entries is append-only', ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER audit_entries_are_dense AFTER INSERT ON audit_entries
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION audit_entries_are_dense();
CREATE TRIGGER audit_entries_no_change BEFORE UPDATE OR TRUNCATE ON audit_entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('audit_entries is append-only');
CREATE TRIGGER audit_entries_leave_for_the_archive_only AFTER DELETE ON audit_entries
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION audit_entries_leave_for_the_archive_only();

-- Full tiles of the Merkle tree: docs/audit-format.md.
CREATE TABLE audit_tiles (
    log    BIGINT NOT NULL,
    level  BIGINT NOT NULL CHECK (level >= 0),
    number BIGINT NOT NULL CHECK (number >= 0),
    root   BYTEA NOT NULL CHECK (length(root) = 32),
    hashes BYTEA NOT NULL CHECK (length(hashes) = 8192),  -- 256 of them
    PRIMARY KEY (log, level, number)
);

CREATE FUNCTION audit_tiles_are_dense() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.number
        <> (SELECT coalesce(max(number), -1) + 1 FROM audit_tiles WHERE log = NEW.log AND level = NEW.level) THEN
        RAISE EXCEPTION USING MESSAGE = 'audit_tiles grows by the next number only',
            ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER audit_tiles_are_dense BEFORE INSERT ON audit_tiles
    FOR EACH ROW EXECUTE FUNCTION audit_tiles_are_dense();
CREATE TRIGGER audit_tiles_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_tiles
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('a tile does not change and is never deleted');

-- Keys that signed checkpoints.
CREATE TABLE audit_signers (
    log               BIGINT NOT NULL,
    number            BIGINT NOT NULL CHECK (number > 0),
    name              TEXT NOT NULL,   -- the key, as the devices' driver calls it
    public_key        BYTEA NOT NULL,  -- SubjectPublicKeyInfo, DER
    certificate_chain TEXT NOT NULL,   -- PEM, signer first; empty when the key has none
    first_used_at     BIGINT NOT NULL,
    PRIMARY KEY (log, number)
);

CREATE TRIGGER audit_signers_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_signers
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('who signed does not change and is never forgotten');

CREATE TABLE audit_checkpoints (
    log    BIGINT NOT NULL,
    size   BIGINT NOT NULL CHECK (size > 0),  -- entries that it covers
    at     BIGINT NOT NULL,
    signer BIGINT NOT NULL,
    note   TEXT NOT NULL,                     -- signed: docs/audit-format.md
    PRIMARY KEY (log, size),
    FOREIGN KEY (log, signer) REFERENCES audit_signers (log, number)
);

-- Old ones are thinned out: what they say follows from the later ones. The newest is not.
CREATE FUNCTION audit_checkpoints_rules() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.size <= (SELECT coalesce(max(size), 0) FROM audit_checkpoints WHERE log = NEW.log) THEN
            RAISE EXCEPTION USING MESSAGE = 'a checkpoint covers more than the one before',
                ERRCODE = 'integrity_constraint_violation';
        END IF;
        RETURN NEW;
    END IF;
    IF OLD.size = (SELECT max(size) FROM audit_checkpoints WHERE log = OLD.log) THEN
        RAISE EXCEPTION USING MESSAGE = 'the newest checkpoint stays', ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN OLD;
END
$$;

CREATE TRIGGER audit_checkpoints_rules BEFORE INSERT OR DELETE ON audit_checkpoints
    FOR EACH ROW EXECUTE FUNCTION audit_checkpoints_rules();
CREATE TRIGGER audit_checkpoints_no_change BEFORE UPDATE OR TRUNCATE ON audit_checkpoints
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('a checkpoint does not change');
