-- +goose Up

-- Events set aside are dead letters, too; see 00007.
-- +goose StatementBegin
CREATE FUNCTION dead_event_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF TG_OP <> 'INSERT' AND OLD.ended_at IS NULL THEN
		INSERT INTO dead_letter_change (channel, reason, provider, n) VALUES ('EVENT', OLD.reason, '', -1);
	END IF;
	IF TG_OP <> 'DELETE' AND NEW.ended_at IS NULL THEN
		INSERT INTO dead_letter_change (channel, reason, provider, n) VALUES ('EVENT', NEW.reason, '', 1);
	END IF;
	RETURN NULL;
END $$;
-- +goose StatementEnd

CREATE TRIGGER dead_event_changed AFTER INSERT OR UPDATE OR DELETE ON set_aside
    FOR EACH ROW EXECUTE FUNCTION dead_event_changed();

-- How the attempts of each ten seconds of the last two hours ended, added up by the process
-- when they are past (attempt.go).
CREATE TABLE attempt_slot (
    slot     timestamptz NOT NULL,
    provider text        NOT NULL,
    outcome  text        NOT NULL,
    n        integer     NOT NULL,
    PRIMARY KEY (slot, provider, outcome)
);

-- +goose Down
DROP TABLE attempt_slot;
DROP TRIGGER dead_event_changed ON set_aside;
DROP FUNCTION dead_event_changed();
