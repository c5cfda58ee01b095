-- +goose Up

-- Events set aside, by day; see 00010.
-- +goose StatementBegin
CREATE FUNCTION dead_event_day_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF TG_OP <> 'INSERT' AND OLD.ended_at IS NULL THEN
		INSERT INTO dead_letter_day_change (day, channel, reason, provider, n)
		VALUES ((OLD.set_aside_at AT TIME ZONE 'UTC')::date, 'EVENT', OLD.reason, '', -1);
	END IF;
	IF TG_OP <> 'DELETE' AND NEW.ended_at IS NULL THEN
		INSERT INTO dead_letter_day_change (day, channel, reason, provider, n)
		VALUES ((NEW.set_aside_at AT TIME ZONE 'UTC')::date, 'EVENT', NEW.reason, '', 1);
	END IF;
	RETURN NULL;
END $$;
-- +goose StatementEnd

CREATE TRIGGER dead_event_day_changed AFTER INSERT OR UPDATE OR DELETE ON set_aside
    FOR EACH ROW EXECUTE FUNCTION dead_event_day_changed();

-- +goose Down
DROP TRIGGER dead_event_day_changed ON set_aside;
DROP FUNCTION dead_event_day_changed();
