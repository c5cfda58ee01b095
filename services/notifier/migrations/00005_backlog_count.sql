-- +goose Up

-- How many deliveries have not ended, by channel and state, and how many dead letters there
-- are (state 'dead'; events set aside: state 'aside', of no channel): kept by triggers,
-- whichever program changes the rows, and not counted for each reader (backlog.go). Changes
-- are rows of their own, so that nobody waits for anybody; the process adds them to the
-- counts now and then.
CREATE TABLE backlog_change (
    channel text    NOT NULL,
    state   text    NOT NULL,
    n       integer NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);

-- A row with an empty channel and state says that what was there before has been counted.
CREATE TABLE backlog_count (
    channel text   NOT NULL,
    state   text   NOT NULL,
    n       bigint NOT NULL,
    PRIMARY KEY (channel, state)
);

-- What a delivery counts as; NULL: as nothing. The conditions are those of the indexes
-- delivery_waiting and delivery_dead_letter.
-- +goose StatementBegin
CREATE FUNCTION backlog_kind(state text, reason text, dropped_at timestamptz) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
	SELECT CASE
		WHEN state IN ('planned', 'retry', 'unknown', 'sending') THEN state
		WHEN state IN ('refused', 'expired', 'bounced', 'suppressed') AND dropped_at IS NULL
		     AND (state <> 'suppressed' OR reason IN ('EMAIL_INVALID', 'PHONE_INVALID', 'CONVERSATION_UNKNOWN', 'RENDER_FAILED')) THEN 'dead'
	END
$$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION backlog_begun() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO backlog_change (channel, state, n)
	SELECT channel, kind, sum(n) FROM (
		SELECT channel, backlog_kind(state, reason, dropped_at) AS kind, 1 AS n FROM begun) AS change
	WHERE kind IS NOT NULL GROUP BY channel, kind;
	RETURN NULL;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION backlog_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO backlog_change (channel, state, n)
	SELECT channel, kind, sum(n) FROM (
		SELECT channel, backlog_kind(state, reason, dropped_at) AS kind, -1 AS n FROM before
		UNION ALL SELECT channel, backlog_kind(state, reason, dropped_at), 1 FROM after) AS change
	WHERE kind IS NOT NULL GROUP BY channel, kind HAVING sum(n) <> 0;
	RETURN NULL;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION backlog_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO backlog_change (channel, state, n)
	SELECT channel, kind, sum(n) FROM (
		SELECT channel, backlog_kind(state, reason, dropped_at) AS kind, -1 AS n FROM gone) AS change
	WHERE kind IS NOT NULL GROUP BY channel, kind;
	RETURN NULL;
END $$;
-- +goose StatementEnd

-- Events set aside, of which there are few.
-- +goose StatementBegin
CREATE FUNCTION backlog_aside() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
	change integer := 0;
BEGIN
	IF TG_OP <> 'INSERT' AND OLD.ended_at IS NULL THEN
		change := change - 1;
	END IF;
	IF TG_OP <> 'DELETE' AND NEW.ended_at IS NULL THEN
		change := change + 1;
	END IF;
	IF change <> 0 THEN
		INSERT INTO backlog_change (channel, state, n) VALUES ('', 'aside', change);
	END IF;
	RETURN NULL;
END $$;
-- +goose StatementEnd

CREATE TRIGGER backlog_aside AFTER INSERT OR UPDATE OR DELETE ON set_aside
    FOR EACH ROW EXECUTE FUNCTION backlog_aside();
CREATE TRIGGER backlog_begun AFTER INSERT ON delivery REFERENCING NEW TABLE AS begun
    FOR EACH STATEMENT EXECUTE FUNCTION backlog_begun();
CREATE TRIGGER backlog_moved AFTER UPDATE ON delivery REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION backlog_moved();
CREATE TRIGGER backlog_gone AFTER DELETE ON delivery REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION backlog_gone();

-- +goose Down
DROP TRIGGER backlog_aside ON set_aside;
DROP TRIGGER backlog_begun ON delivery;
DROP TRIGGER backlog_moved ON delivery;
DROP TRIGGER backlog_gone ON delivery;
DROP FUNCTION backlog_aside(), backlog_begun(), backlog_moved(), backlog_gone(), backlog_kind(text, text, timestamptz);
DROP TABLE backlog_count, backlog_change;
