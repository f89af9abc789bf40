-- Beside each entry the code of the gateway that wrote it: first 4 octets naming the key, then HMAC-SM3. Entries of older
-- releases have none.
ALTER TABLE audit_entries ADD COLUMN code BYTEA CHECK (code IS NULL OR length(code) = 36);
