-- Templates that say what stamps look like and where they go. A version is never changed or removed: the template's row says
-- which one is in force. Times are Unix seconds.
CREATE TABLE stamp_templates (
    id         TEXT PRIMARY KEY,
    state      TEXT NOT NULL CHECK (state IN ('enabled', 'disabled')),
    version    INTEGER NOT NULL CHECK (version > 0),  -- in force
    reason     TEXT NOT NULL,           -- of the last change
    actor      TEXT NOT NULL,           -- as the audit log names people and apps
    changed_at INTEGER NOT NULL,
    revision   INTEGER NOT NULL DEFAULT 0,
    code       BLOB                     -- HMAC-SM3 over the row; NULL only where there is no data key yet
) STRICT;

CREATE TRIGGER stamp_templates_go_on BEFORE UPDATE OF id, version ON stamp_templates
WHEN NEW.id <> OLD.id OR NEW.version < OLD.version
BEGIN
    SELECT RAISE(ABORT, 'a template keeps its id and goes on to newer versions');
END;

CREATE TRIGGER stamp_templates_no_delete BEFORE DELETE ON stamp_templates
BEGIN
    SELECT RAISE(ABORT, 'a template is never forgotten');
END;

CREATE TABLE stamp_template_versions (
    template    TEXT NOT NULL REFERENCES stamp_templates (id),
    version     INTEGER NOT NULL CHECK (version > 0),
    description TEXT NOT NULL,
    apps        TEXT,                   -- who may use it: a JSON array in order; NULL: every app that stamps
    stamp       TEXT NOT NULL,          -- members of an order for a stamp: JSON
    reason      TEXT NOT NULL,
    actor       TEXT NOT NULL,
    at          INTEGER NOT NULL,
    revision    INTEGER NOT NULL DEFAULT 0,
    code        BLOB,
    PRIMARY KEY (template, version)
) STRICT;

CREATE TRIGGER stamp_template_versions_are_fixed
BEFORE UPDATE OF template, version, description, apps, stamp, reason, actor, at ON stamp_template_versions
BEGIN
    SELECT RAISE(ABORT, 'a version of a template is never changed');
END;

CREATE TRIGGER stamp_template_versions_no_delete BEFORE DELETE ON stamp_template_versions
BEGIN
    SELECT RAISE(ABORT, 'a version of a template is never deleted');
END;

-- Of a stamp by a template: which one, JSON; its digest is in the entry with the rest.
ALTER TABLE stamps ADD COLUMN template TEXT;
