-- Data keys, each wrapped by a key in the devices, and codes over rows that grant power. Times are Unix seconds.
CREATE TABLE data_keys (
    version              BIGINT PRIMARY KEY CHECK (version > 0),
    group_id             TEXT NOT NULL,  -- whose devices give it back
    wrapping_key         TEXT NOT NULL,
    wrapping_key_version BIGINT NOT NULL CHECK (wrapping_key_version > 0),
    wrapped              BYTEA NOT NULL CHECK (length(wrapped) = 60), -- nonce, 32 octets, tag
    created_at           BIGINT NOT NULL
);

CREATE TRIGGER data_keys_no_delete BEFORE DELETE OR TRUNCATE ON data_keys
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('what was sealed under a data key could not be read any more');

CREATE FUNCTION data_keys_keep_their_wrapping_key() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM data_keys
        WHERE wrapping_key = OLD.key_id AND wrapping_key_version = OLD.version) THEN
        RAISE EXCEPTION USING MESSAGE = 'a data key is wrapped under it', ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER data_keys_keep_their_wrapping_key BEFORE UPDATE ON key_versions FOR EACH ROW
    WHEN (NEW.state = 'destroyed' AND OLD.state <> 'destroyed')
    EXECUTE FUNCTION data_keys_keep_their_wrapping_key();

-- HMAC-SM3 over the row, with the version of the data key before it; NULL only where there is no data key yet.
ALTER TABLE keys ADD COLUMN revision BIGINT NOT NULL DEFAULT 0;
ALTER TABLE keys ADD COLUMN code BYTEA;
ALTER TABLE custodians ADD COLUMN revision BIGINT NOT NULL DEFAULT 0;
ALTER TABLE custodians ADD COLUMN code BYTEA;
