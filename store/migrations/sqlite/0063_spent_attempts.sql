-- How often keys signed for a document whose stamp was not made.
ALTER TABLE stamp_job_documents ADD COLUMN spent INTEGER NOT NULL DEFAULT 0 CHECK (spent >= 0);
