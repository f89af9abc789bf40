-- The same as for SQLite.
CREATE TABLE stamp_evidence (
    stamp         TEXT COLLATE "C" PRIMARY KEY,
    stamped_at    BIGINT NOT NULL,             -- Unix seconds
    core          TEXT,                        -- what the evidence is about, JSON; NULL as long as there is none
    due_at        BIGINT NOT NULL,             -- Unix seconds: when it is to be taken, or renewed
    tries         BIGINT NOT NULL DEFAULT 0,   -- that came to nothing, one after the other
    holder        TEXT,                        -- who is at it
    claimed_until BIGINT NOT NULL DEFAULT 0    -- Unix seconds
);

CREATE INDEX stamp_evidence_due ON stamp_evidence (due_at);
CREATE INDEX stamp_evidence_old ON stamp_evidence (stamped_at);

CREATE TABLE stamp_evidence_records (
    stamp  TEXT COLLATE "C" NOT NULL REFERENCES stamp_evidence (stamp),
    number BIGINT NOT NULL,
    record TEXT NOT NULL,                      -- JSON
    PRIMARY KEY (stamp, number)
);

-- What lies in the folder under its digest, and for which stamps.
CREATE TABLE stamp_evidence_items (
    stamp  TEXT COLLATE "C" NOT NULL REFERENCES stamp_evidence (stamp),
    digest TEXT COLLATE "C" NOT NULL,          -- SM3, hexadecimal
    PRIMARY KEY (stamp, digest)
);

CREATE INDEX stamp_evidence_items_by_digest ON stamp_evidence_items (digest);

CREATE TRIGGER stamp_evidence_records_are_fixed BEFORE UPDATE ON stamp_evidence_records
    FOR EACH ROW EXECUTE FUNCTION refuse('a record of evidence does not change');

CREATE TRIGGER stamp_evidence_core_is_fixed BEFORE UPDATE OF stamp, core ON stamp_evidence
    FOR EACH ROW WHEN (OLD.core IS NOT NULL AND (NEW.core IS NULL OR NEW.core <> OLD.core OR NEW.stamp <> OLD.stamp))
    EXECUTE FUNCTION refuse('what evidence is about does not change');

-- Stamps from before: their evidence begins when it is first taken.
INSERT INTO stamp_evidence (stamp, stamped_at, due_at) SELECT id, stamped_at, stamped_at FROM stamps;
