-- Which of the rows that gateways remember were written last, so that an unchanged database costs a look at one row
-- (docs/adr/0043). A hint for speed: whoever writes here has gateways read more, or wait for the next look at all rows.
CREATE TABLE row_changes (
    kind   TEXT COLLATE "C" NOT NULL,   -- the table
    id     TEXT COLLATE "C" NOT NULL,   -- what the row's code names it by
    change BIGINT NOT NULL,             -- the transaction that wrote the row last
    PRIMARY KEY (kind, id)
);

CREATE INDEX row_changes_by_change ON row_changes (change, kind);

-- The argument is the column that a table's rows are named by. Nobody waits here for anybody who does not write the same row.
CREATE FUNCTION note_row_change() RETURNS TRIGGER LANGUAGE plpgsql AS $$
DECLARE
    written JSONB := CASE TG_OP WHEN 'DELETE' THEN to_jsonb(OLD) ELSE to_jsonb(NEW) END;
BEGIN
    INSERT INTO row_changes (kind, id, change)
    VALUES (TG_TABLE_NAME, written ->> TG_ARGV[0], pg_current_xact_id()::TEXT::BIGINT)
    ON CONFLICT (kind, id) DO UPDATE SET change = excluded.change;
    RETURN NULL;
END $$;

CREATE TRIGGER keys_are_noted AFTER INSERT OR UPDATE OR DELETE ON keys
    FOR EACH ROW EXECUTE FUNCTION note_row_change('id');

CREATE TRIGGER custodians_are_noted AFTER INSERT OR UPDATE OR DELETE ON custodians
    FOR EACH ROW EXECUTE FUNCTION note_row_change('name');

CREATE TRIGGER apps_are_noted AFTER INSERT OR UPDATE OR DELETE ON apps
    FOR EACH ROW EXECUTE FUNCTION note_row_change('id');

CREATE TRIGGER app_credentials_are_noted AFTER INSERT OR UPDATE OR DELETE ON app_credentials
    FOR EACH ROW EXECUTE FUNCTION note_row_change('id');

CREATE TRIGGER accounts_are_noted AFTER INSERT OR UPDATE OR DELETE ON accounts
    FOR EACH ROW EXECUTE FUNCTION note_row_change('name');

CREATE TRIGGER account_sessions_are_noted AFTER INSERT OR UPDATE OR DELETE ON account_sessions
    FOR EACH ROW EXECUTE FUNCTION note_row_change('id');

CREATE TRIGGER seals_are_noted AFTER INSERT OR UPDATE OR DELETE ON seals
    FOR EACH ROW EXECUTE FUNCTION note_row_change('id');

CREATE TRIGGER mandates_are_noted AFTER INSERT OR UPDATE OR DELETE ON mandates
    FOR EACH ROW EXECUTE FUNCTION note_row_change('id');

CREATE TRIGGER stamp_templates_are_noted AFTER INSERT OR UPDATE OR DELETE ON stamp_templates
    FOR EACH ROW EXECUTE FUNCTION note_row_change('id');

CREATE TRIGGER webhooks_are_noted AFTER INSERT OR UPDATE OR DELETE ON webhooks
    FOR EACH ROW EXECUTE FUNCTION note_row_change('app');

CREATE TRIGGER approvals_are_noted AFTER INSERT OR UPDATE OR DELETE ON approvals
    FOR EACH ROW EXECUTE FUNCTION note_row_change('id');
