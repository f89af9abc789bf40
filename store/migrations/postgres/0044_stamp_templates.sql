-- The same as for SQLite.
CREATE TABLE stamp_templates (
    id         TEXT COLLATE "C" PRIMARY KEY,
    state      TEXT NOT NULL CHECK (state IN ('enabled', 'disabled')),
    version    BIGINT NOT NULL CHECK (version > 0),   -- in force
    reason     TEXT NOT NULL,           -- of the last change
    actor      TEXT NOT NULL,           -- as the audit log names people and apps
    changed_at BIGINT NOT NULL,
    revision   BIGINT NOT NULL DEFAULT 0,
    code       BYTEA                    -- HMAC-SM3 over the row; NULL only where there is no data key yet
);

CREATE TRIGGER stamp_templates_go_on BEFORE UPDATE OF id, version ON stamp_templates
    FOR EACH ROW WHEN (NEW.id <> OLD.id OR NEW.version < OLD.version)
    EXECUTE FUNCTION refuse('a template keeps its id and goes on to newer versions');

CREATE TRIGGER stamp_templates_no_delete BEFORE DELETE OR TRUNCATE ON stamp_templates
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('a template is never forgotten');

CREATE TABLE stamp_template_versions (
    template    TEXT COLLATE "C" NOT NULL REFERENCES stamp_templates (id),
    version     BIGINT NOT NULL CHECK (version > 0),
    description TEXT NOT NULL,
    apps        TEXT,                   -- who may use it: a JSON array in order; NULL: every app that stamps
    stamp       TEXT NOT NULL,          -- members of an order for a stamp: JSON
    reason      TEXT NOT NULL,
    actor       TEXT NOT NULL,
    at          BIGINT NOT NULL,
    revision    BIGINT NOT NULL DEFAULT 0,
    code        BYTEA,
    PRIMARY KEY (template, version)
);

CREATE TRIGGER stamp_template_versions_are_fixed
    BEFORE UPDATE OF template, version, description, apps, stamp, reason, actor, at ON stamp_template_versions
    FOR EACH ROW EXECUTE FUNCTION refuse('a version of a template is never changed');

CREATE TRIGGER stamp_template_versions_no_delete BEFORE DELETE OR TRUNCATE ON stamp_template_versions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('a version of a template is never deleted');

-- Of a stamp by a template: which one, JSON; its digest is in the entry with the rest.
ALTER TABLE stamps ADD COLUMN template TEXT;
