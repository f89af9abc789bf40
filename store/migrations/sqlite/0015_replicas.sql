-- Gateways on one database, and what they have to know of each other. Times are Unix seconds.
CREATE TABLE replicas (
    name       TEXT PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 64),
    started_at INTEGER NOT NULL,
    seen_at    INTEGER NOT NULL     -- its last sign of life
) STRICT;

-- Devices that an operator took out of service, for every gateway.
CREATE TABLE device_holds (
    device TEXT PRIMARY KEY,
    state  TEXT NOT NULL CHECK (state IN ('draining', 'maintenance')),
    since  INTEGER NOT NULL
) STRICT;

ALTER TABLE ceremonies ADD COLUMN carried_by TEXT; -- the replica that began to carry it out
