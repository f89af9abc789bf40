-- The same as for SQLite.
ALTER TABLE entities ADD COLUMN id BIGINT;
UPDATE entities SET id = numbered.id
FROM (SELECT uscc, row_number() OVER (ORDER BY uscc) AS id FROM entities) AS numbered
WHERE numbered.uscc = entities.uscc;
ALTER TABLE entities ALTER COLUMN id SET NOT NULL;
ALTER TABLE entities ADD CONSTRAINT entities_id UNIQUE (id);
ALTER TABLE entities ADD COLUMN import_id BIGINT;

CREATE TABLE entity_history (
    entity      BIGINT NOT NULL REFERENCES entities (id),
    status      BIGINT NOT NULL,
    flags       TEXT NOT NULL,
    as_of       BIGINT NOT NULL,
    replaced_at BIGINT NOT NULL
);

CREATE INDEX entity_history_by_entity ON entity_history (entity, replaced_at);

CREATE TRIGGER entity_history_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON entity_history
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('what an entity was does not change and is never forgotten');

CREATE TABLE library_imports (
    id          BIGINT PRIMARY KEY,
    source      TEXT NOT NULL,
    started_at  BIGINT NOT NULL,
    finished_at BIGINT,
    position    BIGINT NOT NULL,
    line        BIGINT NOT NULL,
    digest      TEXT NOT NULL,
    added       BIGINT NOT NULL,
    changed     BIGINT NOT NULL,
    unchanged   BIGINT NOT NULL,
    outdated    BIGINT NOT NULL,
    refused     BIGINT NOT NULL
);

CREATE TABLE entity_search (
    id    BIGINT PRIMARY KEY REFERENCES entities (id),
    grams TSVECTOR NOT NULL
);

CREATE INDEX entity_search_grams ON entity_search USING gin (grams);
