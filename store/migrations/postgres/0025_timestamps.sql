-- The same as for SQLite.
CREATE TABLE timestamp_counter (
    one         BIGINT PRIMARY KEY CHECK (one = 1),
    next_serial BIGINT NOT NULL CHECK (next_serial > 0),
    latest_us   BIGINT NOT NULL CHECK (latest_us >= 0)
);
INSERT INTO timestamp_counter (one, next_serial, latest_us) VALUES (1, 1, 0);

CREATE TRIGGER timestamp_counter_goes_forward BEFORE UPDATE ON timestamp_counter
    FOR EACH ROW WHEN (NEW.one <> OLD.one OR NEW.next_serial < OLD.next_serial OR NEW.latest_us < OLD.latest_us)
    EXECUTE FUNCTION refuse('serial numbers and times of timestamps never go back');

CREATE TRIGGER timestamp_counter_no_delete BEFORE DELETE OR TRUNCATE ON timestamp_counter
    FOR EACH STATEMENT EXECUTE FUNCTION refuse('the counter of timestamps is never deleted');
