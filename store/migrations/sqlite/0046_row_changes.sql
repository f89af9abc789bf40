-- Which of the rows that gateways remember were written last, so that an unchanged database costs a look at one row
-- (docs/adr/0043). A hint for speed: whoever writes here has gateways read more, or wait for the next look at all rows.
CREATE TABLE row_changes (
    change INTEGER PRIMARY KEY AUTOINCREMENT,   -- grows with each write; no number is given again
    kind   TEXT NOT NULL,               -- the table
    id     TEXT NOT NULL,               -- what the row's code names it by
    UNIQUE (kind, id)
) STRICT;

CREATE INDEX row_changes_of_kinds ON row_changes (kind, change);

CREATE TRIGGER keys_insert_is_noted AFTER INSERT ON keys
BEGIN
    DELETE FROM row_changes WHERE kind = 'keys' AND id = NEW.id;
    INSERT INTO row_changes (kind, id) VALUES ('keys', NEW.id);
END;

CREATE TRIGGER keys_update_is_noted AFTER UPDATE ON keys
BEGIN
    DELETE FROM row_changes WHERE kind = 'keys' AND id = NEW.id;
    INSERT INTO row_changes (kind, id) VALUES ('keys', NEW.id);
END;

CREATE TRIGGER keys_delete_is_noted AFTER DELETE ON keys
BEGIN
    DELETE FROM row_changes WHERE kind = 'keys' AND id = OLD.id;
    INSERT INTO row_changes (kind, id) VALUES ('keys', OLD.id);
END;

CREATE TRIGGER custodians_insert_is_noted AFTER INSERT ON custodians
BEGIN
    DELETE FROM row_changes WHERE kind = 'custodians' AND id = NEW.name;
    INSERT INTO row_changes (kind, id) VALUES ('custodians', NEW.name);
END;

CREATE TRIGGER custodians_update_is_noted AFTER UPDATE ON custodians
BEGIN
    DELETE FROM row_changes WHERE kind = 'custodians' AND id = NEW.name;
    INSERT INTO row_changes (kind, id) VALUES ('custodians', NEW.name);
END;

CREATE TRIGGER custodians_delete_is_noted AFTER DELETE ON custodians
BEGIN
    DELETE FROM row_changes WHERE kind = 'custodians' AND id = OLD.name;
    INSERT INTO row_changes (kind, id) VALUES ('custodians', OLD.name);
END;

CREATE TRIGGER apps_insert_is_noted AFTER INSERT ON apps
BEGIN
    DELETE FROM row_changes WHERE kind = 'apps' AND id = NEW.id;
    INSERT INTO row_changes (kind, id) VALUES ('apps', NEW.id);
END;

CREATE TRIGGER apps_update_is_noted AFTER UPDATE ON apps
BEGIN
    DELETE FROM row_changes WHERE kind = 'apps' AND id = NEW.id;
    INSERT INTO row_changes (kind, id) VALUES ('apps', NEW.id);
END;

CREATE TRIGGER apps_delete_is_noted AFTER DELETE ON apps
BEGIN
    DELETE FROM row_changes WHERE kind = 'apps' AND id = OLD.id;
    INSERT INTO row_changes (kind, id) VALUES ('apps', OLD.id);
END;

CREATE TRIGGER app_credentials_insert_is_noted AFTER INSERT ON app_credentials
BEGIN
    DELETE FROM row_changes WHERE kind = 'app_credentials' AND id = NEW.id;
    INSERT INTO row_changes (kind, id) VALUES ('app_credentials', NEW.id);
END;

CREATE TRIGGER app_credentials_update_is_noted AFTER UPDATE ON app_credentials
BEGIN
    DELETE FROM row_changes WHERE kind = 'app_credentials' AND id = NEW.id;
    INSERT INTO row_changes (kind, id) VALUES ('app_credentials', NEW.id);
END;

CREATE TRIGGER app_credentials_delete_is_noted AFTER DELETE ON app_credentials
BEGIN
    DELETE FROM row_changes WHERE kind = 'app_credentials' AND id = OLD.id;
    INSERT INTO row_changes (kind, id) VALUES ('app_credentials', OLD.id);
END;

CREATE TRIGGER accounts_insert_is_noted AFTER INSERT ON accounts
BEGIN
    DELETE FROM row_changes WHERE kind = 'accounts' AND id = NEW.name;
    INSERT INTO row_changes (kind, id) VALUES ('accounts', NEW.name);
END;

CREATE TRIGGER accounts_update_is_noted AFTER UPDATE ON accounts
BEGIN
    DELETE FROM row_changes WHERE kind = 'accounts' AND id = NEW.name;
    INSERT INTO row_changes (kind, id) VALUES ('accounts', NEW.name);
END;

CREATE TRIGGER accounts_delete_is_noted AFTER DELETE ON accounts
BEGIN
    DELETE FROM row_changes WHERE kind = 'accounts' AND id = OLD.name;
    INSERT INTO row_changes (kind, id) VALUES ('accounts', OLD.name);
END;

CREATE TRIGGER account_sessions_insert_is_noted AFTER INSERT ON account_sessions
BEGIN
    DELETE FROM row_changes WHERE kind = 'account_sessions' AND id = NEW.id;
    INSERT INTO row_changes (kind, id) VALUES ('account_sessions', NEW.id);
END;

CREATE TRIGGER account_sessions_update_is_noted AFTER UPDATE ON account_sessions
BEGIN
    DELETE FROM row_changes WHERE kind = 'account_sessions' AND id = NEW.id;
    INSERT INTO row_changes (kind, id) VALUES ('account_sessions', NEW.id);
END;

CREATE TRIGGER account_sessions_delete_is_noted AFTER DELETE ON account_sessions
BEGIN
    DELETE FROM row_changes WHERE kind = 'account_sessions' AND id = OLD.id;
    INSERT INTO row_changes (kind, id) VALUES ('account_sessions', OLD.id);
END;

CREATE TRIGGER seals_insert_is_noted AFTER INSERT ON seals
BEGIN
    DELETE FROM row_changes WHERE kind = 'seals' AND id = NEW.id;
    INSERT INTO row_changes (kind, id) VALUES ('seals', NEW.id);
END;

CREATE TRIGGER seals_update_is_noted AFTER UPDATE ON seals
BEGIN
    DELETE FROM row_changes WHERE kind = 'seals' AND id = NEW.id;
    INSERT INTO row_changes (kind, id) VALUES ('seals', NEW.id);
END;

CREATE TRIGGER seals_delete_is_noted AFTER DELETE ON seals
BEGIN
    DELETE FROM row_changes WHERE kind = 'seals' AND id = OLD.id;
    INSERT INTO row_changes (kind, id) VALUES ('seals', OLD.id);
END;

CREATE TRIGGER mandates_insert_is_noted AFTER INSERT ON mandates
BEGIN
    DELETE FROM row_changes WHERE kind = 'mandates' AND id = NEW.id;
    INSERT INTO row_changes (kind, id) VALUES ('mandates', NEW.id);
END;

CREATE TRIGGER mandates_update_is_noted AFTER UPDATE ON mandates
BEGIN
    DELETE FROM row_changes WHERE kind = 'mandates' AND id = NEW.id;
    INSERT INTO row_changes (kind, id) VALUES ('mandates', NEW.id);
END;

CREATE TRIGGER mandates_delete_is_noted AFTER DELETE ON mandates
BEGIN
    DELETE FROM row_changes WHERE kind = 'mandates' AND id = OLD.id;
    INSERT INTO row_changes (kind, id) VALUES ('mandates', OLD.id);
END;

CREATE TRIGGER stamp_templates_insert_is_noted AFTER INSERT ON stamp_templates
BEGIN
    DELETE FROM row_changes WHERE kind = 'stamp_templates' AND id = NEW.id;
    INSERT INTO row_changes (kind, id) VALUES ('stamp_templates', NEW.id);
END;

CREATE TRIGGER stamp_templates_update_is_noted AFTER UPDATE ON stamp_templates
BEGIN
    DELETE FROM row_changes WHERE kind = 'stamp_templates' AND id = NEW.id;
    INSERT INTO row_changes (kind, id) VALUES ('stamp_templates', NEW.id);
END;

CREATE TRIGGER stamp_templates_delete_is_noted AFTER DELETE ON stamp_templates
BEGIN
    DELETE FROM row_changes WHERE kind = 'stamp_templates' AND id = OLD.id;
    INSERT INTO row_changes (kind, id) VALUES ('stamp_templates', OLD.id);
END;

CREATE TRIGGER webhooks_insert_is_noted AFTER INSERT ON webhooks
BEGIN
    DELETE FROM row_changes WHERE kind = 'webhooks' AND id = NEW.app;
    INSERT INTO row_changes (kind, id) VALUES ('webhooks', NEW.app);
END;

CREATE TRIGGER webhooks_update_is_noted AFTER UPDATE ON webhooks
BEGIN
    DELETE FROM row_changes WHERE kind = 'webhooks' AND id = NEW.app;
    INSERT INTO row_changes (kind, id) VALUES ('webhooks', NEW.app);
END;

CREATE TRIGGER webhooks_delete_is_noted AFTER DELETE ON webhooks
BEGIN
    DELETE FROM row_changes WHERE kind = 'webhooks' AND id = OLD.app;
    INSERT INTO row_changes (kind, id) VALUES ('webhooks', OLD.app);
END;

CREATE TRIGGER approvals_insert_is_noted AFTER INSERT ON approvals
BEGIN
    DELETE FROM row_changes WHERE kind = 'approvals' AND id = NEW.id;
    INSERT INTO row_changes (kind, id) VALUES ('approvals', NEW.id);
END;

CREATE TRIGGER approvals_update_is_noted AFTER UPDATE ON approvals
BEGIN
    DELETE FROM row_changes WHERE kind = 'approvals' AND id = NEW.id;
    INSERT INTO row_changes (kind, id) VALUES ('approvals', NEW.id);
END;

CREATE TRIGGER approvals_delete_is_noted AFTER DELETE ON approvals
BEGIN
    DELETE FROM row_changes WHERE kind = 'approvals' AND id = OLD.id;
    INSERT INTO row_changes (kind, id) VALUES ('approvals', OLD.id);
END;
