-- Logins that a device without a browser waits for (RFC 8628): by what it asks with, and by what a person types in. Times are Unix
-- seconds.
CREATE TABLE oidc_devices (
    login       TEXT PRIMARY KEY,
    device_code BLOB NOT NULL UNIQUE CHECK (length(device_code) = 32), -- SM3 of 256 random bits
    user_code   BLOB NOT NULL UNIQUE CHECK (length(user_code) = 32), -- SM3 of what is short enough to be typed
    ends_at     INTEGER NOT NULL
) STRICT;

CREATE INDEX oidc_devices_ends ON oidc_devices (ends_at);
