-- Incidents (故障事件), each with its steps: what was done, when, by whom. A change rests on the version before it, so that of two who act
-- at once one does. Nothing of one is ever forgotten. Times are Unix seconds.
CREATE TABLE incidents (
    id          TEXT PRIMARY KEY,
    system      TEXT NOT NULL,             -- what it is of
    state       TEXT NOT NULL CHECK (state IN (
        'accepted', 'registered', 'graded', 'responded', 'investigated', 'handled', 'verified', 'closed')),
    level       INTEGER CHECK (level BETWEEN 1 AND 4), -- NULL until it is graded
    signature   TEXT,                      -- names those that are the same again
    version     INTEGER NOT NULL CHECK (version > 0), -- how many steps there are
    told        INTEGER NOT NULL DEFAULT 0, -- which promises were warned of, or told to be missed: bits
    seen        INTEGER NOT NULL DEFAULT 0, -- how often an alarm came again
    seen_at     INTEGER,
    accepted_at INTEGER NOT NULL,
    closed_at   INTEGER,
    CHECK ((state = 'closed') = (closed_at IS NOT NULL))
) STRICT;

CREATE UNIQUE INDEX incidents_same_open ON incidents (signature) WHERE closed_at IS NULL;
CREATE INDEX incidents_same ON incidents (signature, accepted_at);
CREATE INDEX incidents_accepted ON incidents (accepted_at, id);

CREATE TRIGGER incidents_no_delete BEFORE DELETE ON incidents
BEGIN
    SELECT RAISE(ABORT, 'an incident is never forgotten');
END;

CREATE TRIGGER incidents_forward BEFORE UPDATE ON incidents
WHEN NEW.id <> OLD.id OR NEW.system <> OLD.system OR NEW.signature IS NOT OLD.signature
    OR NEW.accepted_at <> OLD.accepted_at OR NEW.version NOT IN (OLD.version, OLD.version + 1)
    OR (OLD.closed_at IS NOT NULL AND NEW.version <> OLD.version)
BEGIN
    SELECT RAISE(ABORT, 'an incident goes forward by its steps, and stays closed');
END;

CREATE TABLE incident_steps (
    incident TEXT NOT NULL REFERENCES incidents (id),
    number   INTEGER NOT NULL CHECK (number > 0),
    at       INTEGER NOT NULL,
    actor    TEXT NOT NULL,
    said     TEXT NOT NULL,                -- JSON
    PRIMARY KEY (incident, number)
) STRICT;

CREATE TRIGGER incident_steps_no_update BEFORE UPDATE ON incident_steps
BEGIN
    SELECT RAISE(ABORT, 'a step that was made stays');
END;

CREATE TRIGGER incident_steps_no_delete BEFORE DELETE ON incident_steps
BEGIN
    SELECT RAISE(ABORT, 'a step that was made stays');
END;
