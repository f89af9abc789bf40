-- The audit log gets a tree of tiles, signed checkpoints and an archive; each gateway on the database has a log of its
-- own. Times are Unix seconds.
CREATE TABLE audit_logs (
    id         INTEGER PRIMARY KEY CHECK (id > 0),
    replica    TEXT NOT NULL UNIQUE CHECK (length(replica) BETWEEN 1 AND 64), -- the gateway that writes it
    origin     TEXT NOT NULL UNIQUE,  -- what checkpoints call it; never given twice
    created_at INTEGER NOT NULL
) STRICT;

CREATE TRIGGER audit_logs_no_update BEFORE UPDATE ON audit_logs
BEGIN
    SELECT RAISE(ABORT, 'a log keeps its name');
END;

CREATE TRIGGER audit_logs_no_delete BEFORE DELETE ON audit_logs
BEGIN
    SELECT RAISE(ABORT, 'a log is never deleted');
END;

-- What there is so far is the first log's. When it was written was not kept: an entry's own time stands for it.
ALTER TABLE audit_entries RENAME TO audit_entries_so_far;
CREATE TABLE audit_entries (
    log        INTEGER NOT NULL,
    idx        INTEGER NOT NULL CHECK (idx >= 0),
    written_at INTEGER NOT NULL,      -- never goes back within a log
    entry      BLOB NOT NULL,         -- canonical JSON
    leaf_hash  BLOB NOT NULL CHECK (length(leaf_hash) = 32), -- SM3(0x00 || entry)
    PRIMARY KEY (log, idx)
) STRICT;
INSERT INTO audit_entries (log, idx, written_at, entry, leaf_hash)
    SELECT 1, idx,
        max(coalesce(unixepoch(json_extract(CAST(entry AS TEXT), '$.at')), 0)) OVER (ORDER BY idx),
        entry, leaf_hash
    FROM audit_entries_so_far ORDER BY idx;
DROP TABLE audit_entries_so_far;

-- Parts of a log that were moved into the archive, in order and without a gap. Their hashes stay in audit_tiles.
CREATE TABLE audit_segments (
    log         INTEGER NOT NULL,
    start       INTEGER NOT NULL CHECK (start >= 0 AND start % 256 = 0),
    until       INTEGER NOT NULL CHECK (until > start AND until % 256 = 0), -- the first entry after it
    name        TEXT NOT NULL,        -- of the file in the archive
    digest      BLOB NOT NULL CHECK (length(digest) = 32), -- SM3 of the file
    written_at  INTEGER NOT NULL,     -- of its last entry
    archived_at INTEGER NOT NULL,
    removed_at  INTEGER,              -- when its time was over and the file was removed
    PRIMARY KEY (log, start)
) STRICT;

CREATE TRIGGER audit_segments_have_no_gap BEFORE INSERT ON audit_segments
WHEN NEW.start <> (SELECT coalesce(max(until), 0) FROM audit_segments WHERE log = NEW.log)
BEGIN
    SELECT RAISE(ABORT, 'the archive grows by the next entry only');
END;

CREATE TRIGGER audit_segments_are_fixed BEFORE UPDATE ON audit_segments
WHEN OLD.removed_at IS NOT NULL OR NEW.log <> OLD.log OR NEW.start <> OLD.start OR NEW.until <> OLD.until
    OR NEW.name <> OLD.name OR NEW.digest <> OLD.digest OR NEW.written_at <> OLD.written_at
    OR NEW.archived_at <> OLD.archived_at
BEGIN
    SELECT RAISE(ABORT, 'what was archived does not change');
END;

CREATE TRIGGER audit_segments_no_delete BEFORE DELETE ON audit_segments
BEGIN
    SELECT RAISE(ABORT, 'what was archived is never forgotten');
END;

-- Also what stops INSERT OR REPLACE, which deletes without firing delete triggers.
CREATE TRIGGER audit_entries_are_dense BEFORE INSERT ON audit_entries
WHEN NEW.idx <> (SELECT coalesce(max(idx), -1) + 1 FROM audit_entries WHERE log = NEW.log)
BEGIN
    SELECT RAISE(ABORT, 'audit_entries grows by the next index only');
END;

CREATE TRIGGER audit_entries_no_update BEFORE UPDATE ON audit_entries
BEGIN
    SELECT RAISE(ABORT, 'audit_entries is append-only');
END;

CREATE TRIGGER audit_entries_leave_for_the_archive_only BEFORE DELETE ON audit_entries
WHEN OLD.idx >= (SELECT coalesce(max(until), 0) FROM audit_segments WHERE log = OLD.log)
    OR OLD.idx = (SELECT max(idx) FROM audit_entries WHERE log = OLD.log)
BEGIN
    SELECT RAISE(ABORT, 'audit_entries is append-only');
END;

-- Full tiles of the Merkle tree: docs/audit-format.md.
CREATE TABLE audit_tiles (
    log    INTEGER NOT NULL,
    level  INTEGER NOT NULL CHECK (level >= 0),
    number INTEGER NOT NULL CHECK (number >= 0),
    root   BLOB NOT NULL CHECK (length(root) = 32),      -- before the long column: it is read without that
    hashes BLOB NOT NULL CHECK (length(hashes) = 8192),  -- 256 of them
    PRIMARY KEY (log, level, number)
) STRICT;

CREATE TRIGGER audit_tiles_are_dense BEFORE INSERT ON audit_tiles
WHEN NEW.number <> (SELECT coalesce(max(number), -1) + 1 FROM audit_tiles WHERE log = NEW.log AND level = NEW.level)
BEGIN
    SELECT RAISE(ABORT, 'audit_tiles grows by the next number only');
END;

CREATE TRIGGER audit_tiles_no_update BEFORE UPDATE ON audit_tiles
BEGIN
    SELECT RAISE(ABORT, 'a tile does not change');
END;

CREATE TRIGGER audit_tiles_no_delete BEFORE DELETE ON audit_tiles
BEGIN
    SELECT RAISE(ABORT, 'a tile is never deleted');
END;

-- Keys that signed checkpoints.
CREATE TABLE audit_signers (
    log               INTEGER NOT NULL,
    number            INTEGER NOT NULL CHECK (number > 0),
    name              TEXT NOT NULL,  -- the key, as the devices' driver calls it
    public_key        BLOB NOT NULL,  -- SubjectPublicKeyInfo, DER
    certificate_chain TEXT NOT NULL,  -- PEM, signer first; empty when the key has none
    first_used_at     INTEGER NOT NULL,
    PRIMARY KEY (log, number)
) STRICT;

CREATE TRIGGER audit_signers_no_update BEFORE UPDATE ON audit_signers
BEGIN
    SELECT RAISE(ABORT, 'who signed does not change');
END;

CREATE TRIGGER audit_signers_no_delete BEFORE DELETE ON audit_signers
BEGIN
    SELECT RAISE(ABORT, 'who signed is never forgotten');
END;

CREATE TABLE audit_checkpoints (
    log    INTEGER NOT NULL,
    size   INTEGER NOT NULL CHECK (size > 0),  -- entries that it covers
    at     INTEGER NOT NULL,
    signer INTEGER NOT NULL,
    note   TEXT NOT NULL,                      -- signed: docs/audit-format.md
    PRIMARY KEY (log, size),
    FOREIGN KEY (log, signer) REFERENCES audit_signers (log, number)
) STRICT;

CREATE TRIGGER audit_checkpoints_grow BEFORE INSERT ON audit_checkpoints
WHEN NEW.size <= (SELECT coalesce(max(size), 0) FROM audit_checkpoints WHERE log = NEW.log)
BEGIN
    SELECT RAISE(ABORT, 'a checkpoint covers more than the one before');
END;

CREATE TRIGGER audit_checkpoints_no_update BEFORE UPDATE ON audit_checkpoints
BEGIN
    SELECT RAISE(ABORT, 'a checkpoint does not change');
END;

-- Old ones are thinned out: what they say follows from the later ones. The newest is not.
CREATE TRIGGER audit_checkpoints_newest_stays BEFORE DELETE ON audit_checkpoints
WHEN OLD.size = (SELECT max(size) FROM audit_checkpoints WHERE log = OLD.log)
BEGIN
    SELECT RAISE(ABORT, 'the newest checkpoint stays');
END;
