-- What the names that apps get of enterprises are derived with: made once, for good.
CREATE TABLE oidc_secrets (
    name    TEXT PRIMARY KEY,
    secret  BLOB NOT NULL,                 -- sealed: 256 random bits
    made_at INTEGER NOT NULL
) STRICT;

-- Logins by OpenID Connect: who asked for what, in which browser, and what came of it. A step rests on the state before it, so
-- that of two who act at once one does. Times are Unix seconds.
CREATE TABLE oidc_logins (
    id         TEXT PRIMARY KEY,           -- 130 random bits
    app        TEXT NOT NULL,              -- who asked
    session    TEXT NOT NULL UNIQUE,       -- in which somebody scans
    browser    BLOB NOT NULL CHECK (length(browser) = 32), -- SM3 of what the browser keeps
    state      TEXT NOT NULL CHECK (state IN ('open', 'granted', 'redeemed', 'ended')),
    request    BLOB,                       -- sealed: what was asked; NULL at the end
    code_digest BLOB UNIQUE CHECK (length(code_digest) = 32), -- SM3 of the authorization code
    result     BLOB,                       -- sealed: who it is, as the app may know; NULL before, and at the end
    created_at INTEGER NOT NULL,
    granted_at INTEGER,
    ends_at    INTEGER NOT NULL            -- after which it is nothing any more
) STRICT;

CREATE INDEX oidc_logins_ends ON oidc_logins (ends_at);
CREATE INDEX oidc_logins_open ON oidc_logins (app, ends_at) WHERE state = 'open';

CREATE TRIGGER oidc_logins_same BEFORE UPDATE ON oidc_logins
WHEN NEW.id <> OLD.id OR NEW.app <> OLD.app OR NEW.session <> OLD.session OR NEW.browser <> OLD.browser
    OR NEW.created_at <> OLD.created_at
BEGIN
    SELECT RAISE(ABORT, 'a login stays what it was asked for');
END;

CREATE TRIGGER oidc_logins_forward BEFORE UPDATE ON oidc_logins
WHEN NEW.state <> OLD.state AND NOT (
    (OLD.state = 'open' AND NEW.state IN ('granted', 'ended'))
    OR (OLD.state = 'granted' AND NEW.state IN ('redeemed', 'ended'))
    OR (OLD.state = 'redeemed' AND NEW.state = 'ended'))
BEGIN
    SELECT RAISE(ABORT, 'a login goes forward, a state at a time');
END;

CREATE TABLE oidc_tokens (
    digest     BLOB PRIMARY KEY CHECK (length(digest) = 32), -- SM3 of 256 random bits
    login      TEXT NOT NULL,
    kind       TEXT NOT NULL CHECK (kind IN ('access', 'refresh')),
    bound      BLOB CHECK (length(bound) = 32), -- SHA-256 of the client certificate that it is bound to
    credential TEXT,                       -- the app's credential that it was given for; NULL of apps that have none
    expires_at INTEGER NOT NULL,
    used_at    INTEGER                     -- when a refresh token was exchanged
) STRICT;

CREATE INDEX oidc_tokens_login ON oidc_tokens (login);

-- Whose login a session is; NULL of sessions that apps began. What nobody scans leaves nothing.
ALTER TABLE scan_sessions ADD COLUMN login TEXT;
CREATE INDEX scan_sessions_unscanned ON scan_sessions (expires_at) WHERE login IS NOT NULL AND state = 'created';
