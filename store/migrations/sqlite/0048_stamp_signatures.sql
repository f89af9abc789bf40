-- Of a stamp with several signatures: all of them in order, JSON; their digest is in the entry with the rest. The row's own columns
-- are of the first.
ALTER TABLE stamps ADD COLUMN signatures TEXT;
