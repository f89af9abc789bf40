-- Of a stamp over a list of digests: hash function, root and size of its tree, JSON; its digest is in the entry with the rest.
ALTER TABLE stamps ADD COLUMN list TEXT;
