-- Logins that a device without a browser waits for (RFC 8628): by what it asks with, and by what a person types in. Times are Unix
-- seconds.
CREATE TABLE oidc_devices (
    login       TEXT COLLATE "C" PRIMARY KEY,
    device_code BYTEA NOT NULL UNIQUE CHECK (length(device_code) = 32), -- SM3 of 256 random bits
    user_code   BYTEA NOT NULL UNIQUE CHECK (length(user_code) = 32), -- SM3 of what is short enough to be typed
    ends_at     BIGINT NOT NULL
);

CREATE INDEX oidc_devices_ends ON oidc_devices (ends_at);
