-- Requests that apps pushed before they send a browser (RFC 9126): each is fetched once, in the short time that it holds. Times are Unix
-- seconds.
CREATE TABLE oidc_pushed (
    digest  BYTEA PRIMARY KEY CHECK (length(digest) = 32), -- SM3 of the 256 random bits that name it
    app     TEXT COLLATE "C" NOT NULL,     -- who pushed it
    request BYTEA NOT NULL,                -- sealed: what is asked
    ends_at BIGINT NOT NULL
);

CREATE INDEX oidc_pushed_of ON oidc_pushed (app, ends_at);
CREATE INDEX oidc_pushed_ends ON oidc_pushed (ends_at);
