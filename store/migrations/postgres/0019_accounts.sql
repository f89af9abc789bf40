-- The same as for SQLite.
CREATE TABLE accounts (
    name              TEXT COLLATE "C" PRIMARY KEY,  -- for good: it is never given to somebody else
    display_name      BYTEA NOT NULL,         -- sealed
    roles             TEXT NOT NULL,         -- JSON array of strings
    state             TEXT NOT NULL CHECK (state IN ('enabled', 'disabled')),
    reason            TEXT NOT NULL DEFAULT '',  -- of the state
    password          BYTEA NOT NULL,        -- its Argon2id hash, sealed
    password_set_at   BIGINT NOT NULL,
    one_time_until    BIGINT,                -- until when a password holds that somebody else has set
    earlier_passwords BYTEA NOT NULL,        -- JSON array of hashes, newest first, sealed
    totp_secret       BYTEA,                 -- sealed
    totp_since        BIGINT,
    totp_pending      BYTEA,                 -- sealed; a secret that no code has confirmed yet
    totp_step         BIGINT NOT NULL DEFAULT 0,   -- of the last code that counted
    recovery_codes    TEXT NOT NULL DEFAULT '[]',  -- JSON array of SM3 digests
    last_seen_at      BIGINT,
    created_at        BIGINT NOT NULL,
    changed_at        BIGINT NOT NULL,
    revision          BIGINT NOT NULL,
    code              BYTEA NOT NULL,
    CHECK ((totp_secret IS NULL) = (totp_since IS NULL))
);

CREATE TABLE account_sessions (
    id            TEXT COLLATE "C" PRIMARY KEY,
    account       TEXT COLLATE "C" NOT NULL REFERENCES accounts (name),
    kind          TEXT NOT NULL CHECK (kind IN ('pending', 'session', 'token')),
    digest        BYTEA NOT NULL UNIQUE CHECK (length(digest) = 32),  -- SM3 of what is shown
    label         TEXT NOT NULL,
    scopes        TEXT,                      -- of a token: JSON array of strings
    second_factor BOOLEAN NOT NULL,          -- was shown
    created_at    BIGINT NOT NULL,
    used_at       BIGINT NOT NULL,
    expires_at    BIGINT NOT NULL,
    ended_at      BIGINT,
    ended_reason  TEXT,
    revision      BIGINT NOT NULL,
    code          BYTEA NOT NULL,
    CHECK ((ended_at IS NULL) = (ended_reason IS NULL)),
    CHECK ((scopes IS NOT NULL) = (kind = 'token'))
);

CREATE INDEX account_sessions_by_account ON account_sessions (account);

-- Tries to sign in since the last that succeeded, whether or not there is an account of that name.
CREATE TABLE sign_in_tries (
    name     BYTEA PRIMARY KEY,              -- HMAC-SM3 of it: people type passwords there
    tries    BIGINT NOT NULL,
    last_at  BIGINT NOT NULL,
    until    BIGINT NOT NULL                 -- until then nobody may try
);

CREATE INDEX sign_in_tries_by_age ON sign_in_tries (last_at);

CREATE TRIGGER accounts_keep_their_name BEFORE UPDATE OF name, created_at ON accounts
    FOR EACH ROW EXECUTE FUNCTION refuse('the name of an account is fixed');

CREATE TRIGGER accounts_no_delete BEFORE DELETE OR TRUNCATE ON accounts
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('an account is never deleted');

CREATE TRIGGER account_sessions_are_fixed
    BEFORE UPDATE OF id, account, kind, digest, scopes, second_factor, created_at, expires_at ON account_sessions
    FOR EACH ROW EXECUTE FUNCTION refuse('what a session is worth is fixed when it begins');

CREATE TRIGGER account_sessions_stay_ended BEFORE UPDATE OF ended_at ON account_sessions
    FOR EACH ROW WHEN (OLD.ended_at IS NOT NULL)
    EXECUTE FUNCTION refuse('a session that ended stays ended');

-- When a person or an app used a scope last, to the day.
CREATE TABLE rights_used (
    holder  TEXT COLLATE "C" NOT NULL,   -- as the audit log names it
    scope   TEXT COLLATE "C" NOT NULL,
    used_at BIGINT NOT NULL,
    PRIMARY KEY (holder, scope)
);
