-- Inspections (巡检): one row for each that was begun, and for each time of a schedule that owes none. The pair of occasion and
-- slot is what keeps several gateways, and a restart, from making one twice.
CREATE TABLE inspections (
    id           TEXT PRIMARY KEY,         -- its number
    occasion     TEXT NOT NULL CHECK (occasion IN ('daily', 'weekly', 'quarterly', 'key_moment', 'on_demand')),
    slot         TEXT,                     -- which time of the schedule; NULL of one that somebody asked for
    state        TEXT NOT NULL CHECK (state IN ('running', 'done', 'failed', 'skipped')),
    holder       TEXT NOT NULL,            -- whoever makes it; another value when it was taken over
    replica      TEXT NOT NULL,            -- the gateway that makes it
    actor        TEXT NOT NULL,
    reason       TEXT NOT NULL,
    began_at     INTEGER NOT NULL,         -- Unix seconds
    ended_at     INTEGER,
    leased_until INTEGER NOT NULL,         -- from then on it counts as lost while it runs
    results      TEXT,                     -- what was found, JSON
    grade        TEXT,                     -- the worst of it: ok, unmeasured, attention or abnormal
    counts       TEXT,                     -- how much of it came out how, JSON
    standing     TEXT,                     -- how each check stood then, those that were not made this time too, JSON
    audit_index  INTEGER,                  -- of its outcome, in the log of the gateway that made it
    report       BLOB,                     -- PDF
    stamp        TEXT,                     -- number of the report's stamp; NULL of an unsigned one
    unsigned     TEXT                      -- why it has none
) STRICT;

CREATE UNIQUE INDEX inspections_slot ON inspections (occasion, slot) WHERE slot IS NOT NULL;
CREATE INDEX inspections_began ON inspections (began_at, id);
