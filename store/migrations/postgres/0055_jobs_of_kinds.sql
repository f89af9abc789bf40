-- Jobs make stamps on documents that apps send, or query certificates (打印查询证明) of which the gateway sets the document.
-- Of the latter an app may have so many a day: a job's are counted when it is ordered, and what ends without one is given back.
ALTER TABLE stamp_jobs ADD COLUMN kind TEXT NOT NULL DEFAULT 'stamps' CHECK (kind IN ('stamps', 'query_certificates'));
ALTER TABLE stamp_jobs ADD COLUMN counted TEXT;       -- the rule of policy_counts that its documents count for
ALTER TABLE stamp_jobs ADD COLUMN counted_day BIGINT; -- on which day, from 1970-01-01

DROP TRIGGER stamp_jobs_are_fixed ON stamp_jobs;

CREATE TRIGGER stamp_jobs_are_fixed
    BEFORE UPDATE OF id, app, request_id, defaults, total, created_at, kind, counted, counted_day ON stamp_jobs
    FOR EACH ROW EXECUTE FUNCTION refuse('what is ordered is never changed');

-- The next document of a job is the first that has not ended: with 10,000 of them they are not sorted for each one.
DROP INDEX stamp_job_documents_due;
CREATE INDEX stamp_job_documents_next ON stamp_job_documents (job, n) WHERE state IN ('waiting', 'working');
