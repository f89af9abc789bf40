-- Data keys, each wrapped by a key in the devices, and codes over rows that grant power. Times are Unix seconds.
CREATE TABLE data_keys (
    version              INTEGER PRIMARY KEY CHECK (version > 0),
    group_id             TEXT NOT NULL,  -- whose devices give it back
    wrapping_key         TEXT NOT NULL,
    wrapping_key_version INTEGER NOT NULL CHECK (wrapping_key_version > 0),
    wrapped              BLOB NOT NULL CHECK (length(wrapped) = 60), -- nonce, 32 octets, tag
    created_at           INTEGER NOT NULL
) STRICT;

CREATE TRIGGER data_keys_no_delete BEFORE DELETE ON data_keys
BEGIN
    SELECT RAISE(ABORT, 'what was sealed under a data key could not be read any more');
END;

CREATE TRIGGER data_keys_keep_their_wrapping_key BEFORE UPDATE OF state ON key_versions
WHEN NEW.state = 'destroyed' AND EXISTS (SELECT 1 FROM data_keys
    WHERE wrapping_key = OLD.key_id AND wrapping_key_version = OLD.version)
BEGIN
    SELECT RAISE(ABORT, 'a data key is wrapped under it');
END;

-- HMAC-SM3 over the row, with the version of the data key before it; NULL only where there is no data key yet.
ALTER TABLE keys ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
ALTER TABLE keys ADD COLUMN code BLOB;
ALTER TABLE custodians ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
ALTER TABLE custodians ADD COLUMN code BLOB;
