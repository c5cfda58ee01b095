-- +goose Up

-- How many dead letters there are of each day (UTC), channel, reason and provider, so that
-- those of a time are counted by days and not one by one. Kept as 00007 keeps them of all times.
CREATE TABLE dead_letter_day_change (
    day      date    NOT NULL,
    channel  text    NOT NULL,
    reason   text    NOT NULL,
    provider text    NOT NULL,
    n        integer NOT NULL
);

-- A row of 1970 with empty columns says that what was there before has been counted.
CREATE TABLE dead_letter_day_count (
    day      date   NOT NULL,
    channel  text   NOT NULL,
    reason   text   NOT NULL,
    provider text   NOT NULL,
    n        bigint NOT NULL,
    PRIMARY KEY (day, channel, reason, provider)
);

-- +goose StatementBegin
CREATE FUNCTION dead_letter_day_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF TG_OP <> 'INSERT' AND backlog_kind(OLD.state, OLD.reason, OLD.dropped_at) = 'dead' THEN
		INSERT INTO dead_letter_day_change (day, channel, reason, provider, n)
		VALUES ((OLD.updated_at AT TIME ZONE 'UTC')::date, OLD.channel, OLD.reason, OLD.provider, -1);
	END IF;
	IF TG_OP <> 'DELETE' AND backlog_kind(NEW.state, NEW.reason, NEW.dropped_at) = 'dead' THEN
		INSERT INTO dead_letter_day_change (day, channel, reason, provider, n)
		VALUES ((NEW.updated_at AT TIME ZONE 'UTC')::date, NEW.channel, NEW.reason, NEW.provider, 1);
	END IF;
	RETURN NULL;
END $$;
-- +goose StatementEnd

-- Triggers of their own: creating them waits for transactions that are changing deliveries,
-- so that no change is missed.
CREATE TRIGGER dead_letter_day_begun AFTER INSERT ON delivery
    FOR EACH ROW WHEN (NEW.state IN ('refused', 'expired', 'bounced', 'suppressed')) EXECUTE FUNCTION dead_letter_day_changed();
CREATE TRIGGER dead_letter_day_moved AFTER UPDATE ON delivery
    FOR EACH ROW WHEN (OLD.state IN ('refused', 'expired', 'bounced', 'suppressed') OR NEW.state IN ('refused', 'expired', 'bounced', 'suppressed')) EXECUTE FUNCTION dead_letter_day_changed();
CREATE TRIGGER dead_letter_day_gone AFTER DELETE ON delivery
    FOR EACH ROW WHEN (OLD.state IN ('refused', 'expired', 'bounced', 'suppressed')) EXECUTE FUNCTION dead_letter_day_changed();

-- +goose Down
DROP TRIGGER dead_letter_day_begun ON delivery;
DROP TRIGGER dead_letter_day_moved ON delivery;
DROP TRIGGER dead_letter_day_gone ON delivery;
DROP FUNCTION dead_letter_day_changed();
DROP TABLE dead_letter_day_count, dead_letter_day_change;
