-- Where the timestamp authority has got to: the next serial number, and the latest time that was given to a token that
-- can be put in order by its time (Unix microseconds). Neither ever goes back.
CREATE TABLE timestamp_counter (
    one         INTEGER PRIMARY KEY CHECK (one = 1),
    next_serial INTEGER NOT NULL CHECK (next_serial > 0),
    latest_us   INTEGER NOT NULL CHECK (latest_us >= 0)
) STRICT;
INSERT INTO timestamp_counter (one, next_serial, latest_us) VALUES (1, 1, 0);

CREATE TRIGGER timestamp_counter_goes_forward BEFORE UPDATE ON timestamp_counter
WHEN NEW.one <> OLD.one OR NEW.next_serial < OLD.next_serial OR NEW.latest_us < OLD.latest_us
BEGIN
    SELECT RAISE(ABORT, 'serial numbers and times of timestamps never go back');
END;

CREATE TRIGGER timestamp_counter_no_delete BEFORE DELETE ON timestamp_counter
BEGIN
    SELECT RAISE(ABORT, 'the counter of timestamps is never deleted');
END;
