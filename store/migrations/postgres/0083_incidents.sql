-- Incidents (故障事件), each with its steps: what was done, when, by whom. A change rests on the version before it, so that of two who act
-- at once one does. Nothing of one is ever forgotten. Times are Unix seconds.
CREATE TABLE incidents (
    id          TEXT COLLATE "C" PRIMARY KEY,
    system      TEXT COLLATE "C" NOT NULL, -- what it is of
    state       TEXT COLLATE "C" NOT NULL CHECK (state IN (
        'accepted', 'registered', 'graded', 'responded', 'investigated', 'handled', 'verified', 'closed')),
    level       BIGINT CHECK (level BETWEEN 1 AND 4), -- NULL until it is graded
    signature   TEXT COLLATE "C",          -- names those that are the same again
    version     BIGINT NOT NULL CHECK (version > 0), -- how many steps there are
    told        BIGINT NOT NULL DEFAULT 0, -- which promises were warned of, or told to be missed: bits
    seen        BIGINT NOT NULL DEFAULT 0, -- how often an alarm came again
    seen_at     BIGINT,
    accepted_at BIGINT NOT NULL,
    closed_at   BIGINT,
    CHECK ((state = 'closed') = (closed_at IS NOT NULL))
);

CREATE UNIQUE INDEX incidents_same_open ON incidents (signature) WHERE closed_at IS NULL;
CREATE INDEX incidents_same ON incidents (signature, accepted_at);
CREATE INDEX incidents_accepted ON incidents (accepted_at, id);

CREATE TRIGGER incidents_no_delete BEFORE DELETE OR TRUNCATE ON incidents
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('an incident is never forgotten');

CREATE TRIGGER incidents_forward BEFORE UPDATE ON incidents
    FOR EACH ROW WHEN (
        (NEW.id, NEW.system, NEW.signature, NEW.accepted_at)
            IS DISTINCT FROM (OLD.id, OLD.system, OLD.signature, OLD.accepted_at)
        OR NEW.version NOT IN (OLD.version, OLD.version + 1)
        OR (OLD.closed_at IS NOT NULL AND NEW.version <> OLD.version)
    )
    EXECUTE FUNCTION refuse('an incident goes forward by its steps, and stays closed');

CREATE TABLE incident_steps (
    incident TEXT COLLATE "C" NOT NULL REFERENCES incidents (id),
    number   BIGINT NOT NULL CHECK (number > 0),
    at       BIGINT NOT NULL,
    actor    TEXT COLLATE "C" NOT NULL,
    said     TEXT NOT NULL,                -- JSON
    PRIMARY KEY (incident, number)
);

CREATE TRIGGER incident_steps_no_update BEFORE UPDATE ON incident_steps
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('a step that was made stays');

CREATE TRIGGER incident_steps_no_delete BEFORE DELETE OR TRUNCATE ON incident_steps
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('a step that was made stays');
