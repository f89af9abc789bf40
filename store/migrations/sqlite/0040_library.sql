-- The license library as a whole register: entities have a number, by which their names are found; what an entity was
-- before is kept; so is how each import went. Both tables are made anew, because a primary key cannot be changed.
CREATE TABLE entities_new (
    id           INTEGER PRIMARY KEY,   -- in the order they came in
    uscc         TEXT NOT NULL UNIQUE CHECK (length(uscc) = 18),
    name         TEXT NOT NULL,
    entity_type  TEXT NOT NULL,
    status       INTEGER NOT NULL CHECK (status IN (1, 2, 3, 4, 5, 6, 9)),
    flags        TEXT NOT NULL,         -- JSON array of strings
    status_as_of INTEGER NOT NULL,
    face         TEXT NOT NULL,         -- JSON object, field name to text or list of texts
    import_id    INTEGER                -- the last import that had it
) STRICT;

INSERT INTO entities_new (uscc, name, entity_type, status, flags, status_as_of, face)
SELECT uscc, name, entity_type, status, flags, status_as_of, face FROM entities ORDER BY uscc;

CREATE TABLE licenses_new (
    serial      TEXT PRIMARY KEY,
    uscc        TEXT NOT NULL REFERENCES entities_new (uscc),
    certificate BLOB NOT NULL,     -- DER
    not_before  INTEGER NOT NULL,
    not_after   INTEGER NOT NULL,
    current     INTEGER NOT NULL CHECK (current IN (0, 1))
) STRICT;

INSERT INTO licenses_new (serial, uscc, certificate, not_before, not_after, current)
SELECT serial, uscc, certificate, not_before, not_after, current FROM licenses;

DROP TABLE licenses;
DROP TABLE entities;
ALTER TABLE entities_new RENAME TO entities;
ALTER TABLE licenses_new RENAME TO licenses;
CREATE UNIQUE INDEX licenses_one_current ON licenses (uscc) WHERE current;

-- What the register said of an entity before it said something else.
CREATE TABLE entity_history (
    entity      INTEGER NOT NULL REFERENCES entities (id),
    status      INTEGER NOT NULL,
    flags       TEXT NOT NULL,          -- JSON array of strings
    as_of       INTEGER NOT NULL,
    replaced_at INTEGER NOT NULL        -- when this was replaced here
) STRICT;

CREATE INDEX entity_history_by_entity ON entity_history (entity, replaced_at);

CREATE TRIGGER entity_history_no_update BEFORE UPDATE ON entity_history
BEGIN
    SELECT RAISE(ABORT, 'what an entity was does not change');
END;

CREATE TRIGGER entity_history_no_delete BEFORE DELETE ON entity_history
BEGIN
    SELECT RAISE(ABORT, 'what an entity was is never forgotten');
END;

-- How imports went. One that was broken off goes on at its position.
CREATE TABLE library_imports (
    id          INTEGER PRIMARY KEY,
    source      TEXT NOT NULL,          -- the file's name
    started_at  INTEGER NOT NULL,
    finished_at INTEGER,
    position    INTEGER NOT NULL,       -- octets of the file that were taken
    line        INTEGER NOT NULL,       -- lines
    digest      TEXT NOT NULL,          -- SM3 of these octets, hexadecimal
    added       INTEGER NOT NULL,
    changed     INTEGER NOT NULL,
    unchanged   INTEGER NOT NULL,
    outdated    INTEGER NOT NULL,
    refused     INTEGER NOT NULL        -- rows kept out: bad ones and repeated ones
) STRICT;

-- Names by pairs of neighbouring characters (store/src/library/names.rs). Nothing but the index is kept.
CREATE VIRTUAL TABLE entity_search USING fts5 (
    grams, content = '', contentless_delete = 1, detail = none, tokenize = 'ascii'
);
