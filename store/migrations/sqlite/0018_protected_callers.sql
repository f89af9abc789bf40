-- Contacts are sealed from here on.
UPDATE apps SET contacts = NULL;

-- HMAC-SM3 over the row, with the version of the data key before it; NULL only where there is no data key yet.
ALTER TABLE apps ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
ALTER TABLE apps ADD COLUMN code BLOB;
ALTER TABLE app_credentials ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
ALTER TABLE app_credentials ADD COLUMN code BLOB;
