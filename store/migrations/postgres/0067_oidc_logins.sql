-- What the names that apps get of enterprises are derived with: made once, for good.
CREATE TABLE oidc_secrets (
    name    TEXT COLLATE "C" PRIMARY KEY,
    secret  BYTEA NOT NULL,                -- sealed: 256 random bits
    made_at BIGINT NOT NULL
);

-- Logins by OpenID Connect: who asked for what, in which browser, and what came of it. A step rests on the state before it, so
-- that of two who act at once one does. Times are Unix seconds.
CREATE TABLE oidc_logins (
    id         TEXT COLLATE "C" PRIMARY KEY, -- 130 random bits
    app        TEXT COLLATE "C" NOT NULL,  -- who asked
    session    TEXT COLLATE "C" NOT NULL UNIQUE, -- in which somebody scans
    browser    BYTEA NOT NULL CHECK (length(browser) = 32), -- SM3 of what the browser keeps
    state      TEXT COLLATE "C" NOT NULL CHECK (state IN ('open', 'granted', 'redeemed', 'ended')),
    request    BYTEA,                      -- sealed: what was asked; NULL at the end
    code_digest BYTEA UNIQUE CHECK (length(code_digest) = 32), -- SM3 of the authorization code
    result     BYTEA,                      -- sealed: who it is, as the app may know; NULL before, and at the end
    created_at BIGINT NOT NULL,
    granted_at BIGINT,
    ends_at    BIGINT NOT NULL             -- after which it is nothing any more
);

CREATE INDEX oidc_logins_ends ON oidc_logins (ends_at);
CREATE INDEX oidc_logins_open ON oidc_logins (app, ends_at) WHERE state = 'open';

CREATE TRIGGER oidc_logins_same BEFORE UPDATE ON oidc_logins
    FOR EACH ROW WHEN (
        (NEW.id, NEW.app, NEW.session, NEW.browser, NEW.created_at)
            IS DISTINCT FROM (OLD.id, OLD.app, OLD.session, OLD.browser, OLD.created_at)
    )
    EXECUTE FUNCTION refuse('a login stays what it was asked for');

CREATE TRIGGER oidc_logins_forward BEFORE UPDATE ON oidc_logins
    FOR EACH ROW WHEN (
        NEW.state <> OLD.state AND NOT (
            (OLD.state = 'open' AND NEW.state IN ('granted', 'ended'))
            OR (OLD.state = 'granted' AND NEW.state IN ('redeemed', 'ended'))
            OR (OLD.state = 'redeemed' AND NEW.state = 'ended'))
    )
    EXECUTE FUNCTION refuse('a login goes forward, a state at a time');

CREATE TABLE oidc_tokens (
    digest     BYTEA PRIMARY KEY CHECK (length(digest) = 32), -- SM3 of 256 random bits
    login      TEXT COLLATE "C" NOT NULL,
    kind       TEXT COLLATE "C" NOT NULL CHECK (kind IN ('access', 'refresh')),
    bound      BYTEA CHECK (length(bound) = 32), -- SHA-256 of the client certificate that it is bound to
    credential TEXT COLLATE "C",           -- the app's credential that it was given for; NULL of apps that have none
    expires_at BIGINT NOT NULL,
    used_at    BIGINT                      -- when a refresh token was exchanged
);

CREATE INDEX oidc_tokens_login ON oidc_tokens (login);

-- Whose login a session is; NULL of sessions that apps began. What nobody scans leaves nothing.
ALTER TABLE scan_sessions ADD COLUMN login TEXT COLLATE "C";
CREATE INDEX scan_sessions_unscanned ON scan_sessions (expires_at) WHERE login IS NOT NULL AND state = 'created';
