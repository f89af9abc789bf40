-- What a stamp is verified with when its certificates are no more. Each stamp has a row from its own transaction on; what is
-- due of it is claimed by one gateway at a time. Records are added and never changed: each has a timestamp over all before it.
CREATE TABLE stamp_evidence (
    stamp         TEXT PRIMARY KEY,
    stamped_at    INTEGER NOT NULL,            -- Unix seconds
    core          TEXT,                        -- what the evidence is about, JSON; NULL as long as there is none
    due_at        INTEGER NOT NULL,            -- Unix seconds: when it is to be taken, or renewed
    tries         INTEGER NOT NULL DEFAULT 0,  -- that came to nothing, one after the other
    holder        TEXT,                        -- who is at it
    claimed_until INTEGER NOT NULL DEFAULT 0   -- Unix seconds
) STRICT;

CREATE INDEX stamp_evidence_due ON stamp_evidence (due_at);
CREATE INDEX stamp_evidence_old ON stamp_evidence (stamped_at);

CREATE TABLE stamp_evidence_records (
    stamp  TEXT NOT NULL REFERENCES stamp_evidence (stamp),
    number INTEGER NOT NULL,
    record TEXT NOT NULL,                      -- JSON
    PRIMARY KEY (stamp, number)
) STRICT;

-- What lies in the folder under its digest, and for which stamps.
CREATE TABLE stamp_evidence_items (
    stamp  TEXT NOT NULL REFERENCES stamp_evidence (stamp),
    digest TEXT NOT NULL,                      -- SM3, hexadecimal
    PRIMARY KEY (stamp, digest)
) STRICT;

CREATE INDEX stamp_evidence_items_by_digest ON stamp_evidence_items (digest);

CREATE TRIGGER stamp_evidence_records_are_fixed BEFORE UPDATE ON stamp_evidence_records
BEGIN
    SELECT RAISE(ABORT, 'a record of evidence does not change');
END;

CREATE TRIGGER stamp_evidence_core_is_fixed BEFORE UPDATE OF stamp, core ON stamp_evidence
WHEN OLD.core IS NOT NULL AND (NEW.core IS NULL OR NEW.core <> OLD.core OR NEW.stamp <> OLD.stamp)
BEGIN
    SELECT RAISE(ABORT, 'what evidence is about does not change');
END;

-- Stamps from before: their evidence begins when it is first taken.
INSERT INTO stamp_evidence (stamp, stamped_at, due_at) SELECT id, stamped_at, stamped_at FROM stamps;
