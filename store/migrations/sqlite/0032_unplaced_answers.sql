-- A kept answer is written, and sealed, before the audit entry about the act has its index: that is put in when it is read.
ALTER TABLE idempotency_keys ADD COLUMN index_at INTEGER CHECK (index_at >= 0);       -- before which octet of the body
ALTER TABLE idempotency_keys ADD COLUMN audit_index INTEGER CHECK (audit_index >= 0);
