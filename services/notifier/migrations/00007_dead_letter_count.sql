-- +goose Up

-- How many dead letters there are of each reason and provider; events set aside have the
-- channel EVENT and no provider. Kept as the backlog is (00005): by what changes them, in
-- rows of their own, which the process adds to the counts.
CREATE TABLE dead_letter_change (
    channel  text    NOT NULL,
    reason   text    NOT NULL,
    provider text    NOT NULL,
    n        integer NOT NULL
);

-- A row with empty columns says that what was there before has been counted.
CREATE TABLE dead_letter_count (
    channel  text   NOT NULL,
    reason   text   NOT NULL,
    provider text   NOT NULL,
    n        bigint NOT NULL,
    PRIMARY KEY (channel, reason, provider)
);

-- +goose StatementBegin
CREATE FUNCTION dead_letter_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF TG_OP <> 'INSERT' AND backlog_kind(OLD.state, OLD.reason, OLD.dropped_at) = 'dead' THEN
		INSERT INTO dead_letter_change (channel, reason, provider, n) VALUES (OLD.channel, OLD.reason, OLD.provider, -1);
	END IF;
	IF TG_OP <> 'DELETE' AND backlog_kind(NEW.state, NEW.reason, NEW.dropped_at) = 'dead' THEN
		INSERT INTO dead_letter_change (channel, reason, provider, n) VALUES (NEW.channel, NEW.reason, NEW.provider, 1);
	END IF;
	RETURN NULL;
END $$;
-- +goose StatementEnd

-- The states of dead letters: other rows, which are nearly all, call nothing.
CREATE TRIGGER dead_letter_begun AFTER INSERT ON delivery
    FOR EACH ROW WHEN (NEW.state IN ('refused', 'expired', 'bounced', 'suppressed')) EXECUTE FUNCTION dead_letter_changed();
CREATE TRIGGER dead_letter_moved AFTER UPDATE ON delivery
    FOR EACH ROW WHEN (OLD.state IN ('refused', 'expired', 'bounced', 'suppressed') OR NEW.state IN ('refused', 'expired', 'bounced', 'suppressed')) EXECUTE FUNCTION dead_letter_changed();
CREATE TRIGGER dead_letter_gone AFTER DELETE ON delivery
    FOR EACH ROW WHEN (OLD.state IN ('refused', 'expired', 'bounced', 'suppressed')) EXECUTE FUNCTION dead_letter_changed();

-- +goose Down
DROP TRIGGER dead_letter_begun ON delivery;
DROP TRIGGER dead_letter_moved ON delivery;
DROP TRIGGER dead_letter_gone ON delivery;
DROP FUNCTION dead_letter_changed();
DROP TABLE dead_letter_count, dead_letter_change;
