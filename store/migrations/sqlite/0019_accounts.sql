-- The people who operate the gateway, what they are signed in by, and tries to sign in. Times are Unix seconds.
CREATE TABLE accounts (
    name              TEXT PRIMARY KEY,      -- for good: it is never given to somebody else
    display_name      BLOB NOT NULL,          -- sealed
    roles             TEXT NOT NULL,         -- JSON array of strings
    state             TEXT NOT NULL CHECK (state IN ('enabled', 'disabled')),
    reason            TEXT NOT NULL DEFAULT '',  -- of the state
    password          BLOB NOT NULL,         -- its Argon2id hash, sealed
    password_set_at   INTEGER NOT NULL,
    one_time_until    INTEGER,               -- until when a password holds that somebody else has set
    earlier_passwords BLOB NOT NULL,         -- JSON array of hashes, newest first, sealed
    totp_secret       BLOB,                  -- sealed
    totp_since        INTEGER,
    totp_pending      BLOB,                  -- sealed; a secret that no code has confirmed yet
    totp_step         INTEGER NOT NULL DEFAULT 0,  -- of the last code that counted
    recovery_codes    TEXT NOT NULL DEFAULT '[]',  -- JSON array of SM3 digests
    last_seen_at      INTEGER,
    created_at        INTEGER NOT NULL,
    changed_at        INTEGER NOT NULL,
    revision          INTEGER NOT NULL,
    code              BLOB NOT NULL,
    CHECK ((totp_secret IS NULL) = (totp_since IS NULL))
) STRICT;

CREATE TABLE account_sessions (
    id            TEXT PRIMARY KEY,
    account       TEXT NOT NULL REFERENCES accounts (name),
    kind          TEXT NOT NULL CHECK (kind IN ('pending', 'session', 'token')),
    digest        BLOB NOT NULL UNIQUE CHECK (length(digest) = 32),  -- SM3 of what is shown
    label         TEXT NOT NULL,
    scopes        TEXT,                      -- of a token: JSON array of strings
    second_factor INTEGER NOT NULL CHECK (second_factor IN (0, 1)),  -- was shown
    created_at    INTEGER NOT NULL,
    used_at       INTEGER NOT NULL,
    expires_at    INTEGER NOT NULL,
    ended_at      INTEGER,
    ended_reason  TEXT,
    revision      INTEGER NOT NULL,
    code          BLOB NOT NULL,
    CHECK ((ended_at IS NULL) = (ended_reason IS NULL)),
    CHECK ((scopes IS NOT NULL) = (kind = 'token'))
) STRICT;

CREATE INDEX account_sessions_by_account ON account_sessions (account);

-- Tries to sign in since the last that succeeded, whether or not there is an account of that name.
CREATE TABLE sign_in_tries (
    name     BLOB PRIMARY KEY,               -- HMAC-SM3 of it: people type passwords there
    tries    INTEGER NOT NULL,
    last_at  INTEGER NOT NULL,
    until    INTEGER NOT NULL                -- until then nobody may try
) STRICT, WITHOUT ROWID;

CREATE INDEX sign_in_tries_by_age ON sign_in_tries (last_at);

CREATE TRIGGER accounts_keep_their_name BEFORE UPDATE OF name, created_at ON accounts
BEGIN
    SELECT RAISE(ABORT, 'the name of an account is fixed');
END;

CREATE TRIGGER accounts_no_delete BEFORE DELETE ON accounts
BEGIN
    SELECT RAISE(ABORT, 'an account is never deleted');
END;

CREATE TRIGGER account_sessions_are_fixed
BEFORE UPDATE OF id, account, kind, digest, scopes, second_factor, created_at, expires_at ON account_sessions
BEGIN
    SELECT RAISE(ABORT, 'what a session is worth is fixed when it begins');
END;

CREATE TRIGGER account_sessions_stay_ended BEFORE UPDATE OF ended_at ON account_sessions
WHEN OLD.ended_at IS NOT NULL
BEGIN
    SELECT RAISE(ABORT, 'a session that ended stays ended');
END;

-- When a person or an app used a scope last, to the day.
CREATE TABLE rights_used (
    holder  TEXT NOT NULL,   -- as the audit log names it
    scope   TEXT NOT NULL,
    used_at INTEGER NOT NULL,
    PRIMARY KEY (holder, scope)
) STRICT, WITHOUT ROWID;
