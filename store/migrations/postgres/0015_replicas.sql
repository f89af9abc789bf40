-- Gateways on one database, and what they have to know of each other. Times are Unix seconds.
CREATE TABLE replicas (
    name       TEXT COLLATE "C" PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 64),
    started_at BIGINT NOT NULL,
    seen_at    BIGINT NOT NULL     -- its last sign of life
);

-- Devices that an operator took out of service, for every gateway.
CREATE TABLE device_holds (
    device TEXT COLLATE "C" PRIMARY KEY,
    state  TEXT NOT NULL CHECK (state IN ('draining', 'maintenance')),
    since  BIGINT NOT NULL
);

ALTER TABLE ceremonies ADD COLUMN carried_by TEXT; -- the replica that began to carry it out

-- Tells every gateway what changed, when the transaction that changed it commits.
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('license_gateway', TG_ARGV[0]);
    RETURN NULL;
END
$$;

CREATE TRIGGER keys_tell AFTER INSERT OR UPDATE ON keys FOR EACH STATEMENT EXECUTE FUNCTION tell('keys');
CREATE TRIGGER key_versions_tell AFTER INSERT OR UPDATE ON key_versions
    FOR EACH STATEMENT EXECUTE FUNCTION tell('keys');
CREATE TRIGGER key_copies_tell AFTER INSERT OR UPDATE ON key_copies
    FOR EACH STATEMENT EXECUTE FUNCTION tell('keys');
CREATE TRIGGER apps_tell AFTER INSERT OR UPDATE OR DELETE ON apps FOR EACH STATEMENT EXECUTE FUNCTION tell('apps');
CREATE TRIGGER device_holds_tell AFTER INSERT OR UPDATE OR DELETE ON device_holds
    FOR EACH STATEMENT EXECUTE FUNCTION tell('devices');
