-- Whether the next number comes is asked of the entry before it, not of the greatest one. For the greatest one below a
-- number PostgreSQL reads a whole log as long as it believes the table to be small: until it is analysed first, and on
-- connections that planned the question before that.
CREATE OR REPLACE FUNCTION audit_entries_are_dense() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    first BIGINT;
    last BIGINT;
    rows BIGINT;
    whose BIGINT;
    others BIGINT;
BEGIN
    SELECT min(idx), max(idx), count(*), min(log), max(log) INTO first, last, rows, whose, others FROM added;
    IF rows > 0 AND (whose <> others OR last - first + 1 <> rows
        OR first > 0 AND NOT EXISTS (SELECT 1 FROM audit_entries WHERE log = whose AND idx = first - 1)
        OR EXISTS (SELECT 1 FROM audit_entries WHERE log = whose AND idx > last)) THEN
        RAISE EXCEPTION USING MESSAGE = 'audit_entries grows by the next index only',
            ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION audit_tiles_are_dense() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.number > 0 AND NOT EXISTS (
            SELECT 1 FROM audit_tiles WHERE log = NEW.log AND level = NEW.level AND number = NEW.number - 1)
        OR EXISTS (SELECT 1 FROM audit_tiles WHERE log = NEW.log AND level = NEW.level AND number > NEW.number)
    THEN
        RAISE EXCEPTION USING MESSAGE = 'audit_tiles grows by the next number only',
            ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END
$$;
