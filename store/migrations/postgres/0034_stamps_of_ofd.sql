-- OFD packages are stamped, too.
ALTER TABLE stamps
    DROP CONSTRAINT stamps_format_check,
    ADD CONSTRAINT stamps_format_check CHECK (format IN ('digest', 'ofd', 'pdf'));
