-- A data key is used for new values from this time on (Unix seconds): by then every gateway knows it.
ALTER TABLE data_keys ADD COLUMN used_from INTEGER NOT NULL DEFAULT 0;

-- A shared secret is sealed anew under another data key; what it proves stays the same, for which the row's code answers.
DROP TRIGGER app_credentials_are_fixed;
CREATE TRIGGER app_credentials_are_fixed BEFORE UPDATE OF id, app, kind, subject, created_at ON app_credentials
BEGIN
    SELECT RAISE(ABORT, 'what a credential proves is fixed when it is entered');
END;
CREATE TRIGGER app_credentials_keep_their_material BEFORE UPDATE OF material ON app_credentials
WHEN OLD.material <> NEW.material AND OLD.kind NOT IN ('hmac-sm3', 'hmac-sha256')
BEGIN
    SELECT RAISE(ABORT, 'what a credential proves is fixed when it is entered');
END;
