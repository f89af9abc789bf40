-- A row is named by the one column that names it, without the others being written out: they may hold what is sealed, and are many.
CREATE OR REPLACE FUNCTION note_row_change() RETURNS TRIGGER LANGUAGE plpgsql AS $$
DECLARE
    name TEXT;
BEGIN
    IF TG_OP = 'DELETE' THEN
        EXECUTE format('SELECT ($1).%I', TG_ARGV[0]) INTO name USING OLD;
    ELSE
        EXECUTE format('SELECT ($1).%I', TG_ARGV[0]) INTO name USING NEW;
    END IF;
    INSERT INTO row_changes (kind, id, change)
    VALUES (TG_TABLE_NAME, name, pg_current_xact_id()::TEXT::BIGINT)
    ON CONFLICT (kind, id) DO UPDATE SET change = excluded.change;
    RETURN NULL;
END $$;
